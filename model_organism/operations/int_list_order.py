"""Operations that reorder, shorten or extend a list of integers."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
sort         ints ints  1.8  sort           -      sorted({v})
    {x} sorted in ascending order / {x} in increasing order | sort {x} in ascending order / sort {x}
sort_desc    ints ints  1.4  sort_desc      -      sorted({v}, reverse=True)
    {x} sorted in descending order / {x} in decreasing order | sort {x} in descending order
sort_abs     ints ints  0.5  sort_abs       -      sorted({v}, key=abs)
    {x} sorted by absolute value | sort {x} by absolute value
sort_mod     ints ints  0.4  sort_mod       2..9   sorted({v}, key=lambda x: x % {k})
    {x} sorted by the remainder when divided by {k} | sort {x} by the remainder when divided by {k}
dedupe       ints ints  1.2  unique         -
    {x} with duplicates removed / the distinct elements of {x} | remove duplicates from {x}
    {o} = []
    for x in {v}:
        if x not in {o}:
            {o}.append(x)
reverse      ints ints  1.4  reverse        -      {v}[::-1]
    {x} in reverse order / {x} reversed | reverse {x}
take         ints ints  1.2  first          2..5   {v}[:{k}]
    the first {k} elements of {x} | take the first {k} elements of {x}
last         ints ints  1    last           2..5   {v}[-{k}:]
    the last {k} elements of {x} | take the last {k} elements of {x}
drop         ints ints  0.9  drop           1..4   {v}[{k}:]
    {x} without the first {k} elements | drop the first {k} elements of {x} / skip the first {k} elements of {x}
droplast     ints ints  0.6  droplast       1..4   {v}[:-{k}]
    {x} without the last {k} elements | drop the last {k} elements of {x}
step         ints ints  0.4  every          4..6   {v}[::{k}]
    every {k}th element of {x} | take every {k}th element of {x}
second       ints ints  0.7  alternate      -      {v}[::2]
    every second element of {x} | take every second element of {x}
rotl         ints ints  0.7  rotate_left    1..4   {v}[{k}:] + {v}[:{k}]
    {x} rotated left by {k} positions | rotate {x} left by {k} positions
rotr         ints ints  0.5  rotate_right   1..4   {v}[-{k}:] + {v}[:-{k}]
    {x} rotated right by {k} positions | rotate {x} right by {k} positions
cumsum       ints ints  0.9  running_sum    -
    the running sums of {x} / the cumulative sums of {x} | compute the running sums of {x}
    {o} = []
    s = 0
    for x in {v}:
        s += x
        {o}.append(s)
cummax       ints ints  0.4  running_max    -
    the running maximums of {x} | compute the running maximums of {x}
    {o} = []
    for x in {v}:
        if {o} and {o}[-1] > x:
            {o}.append({o}[-1])
        else:
            {o}.append(x)
diffs        ints ints  0.7  diffs          -      [{v}[i + 1] - {v}[i] for i in range(len({v}) - 1)]
    the differences between consecutive elements of {x} | compute the differences between consecutive elements of {x}
adjsum       ints ints  0.5  neighbour_sum  -      [{v}[i] + {v}[i + 1] for i in range(len({v}) - 1)]
    the sums of neighbouring elements of {x} | add neighbouring elements of {x}
append       ints ints  0.6  append         0..40  {v} + [{k}]
    {x} with {k} added at the end | append {k} to {x}
prepend      ints ints  0.5  prepend        0..40  [{k}] + {v}
    {x} with {k} added at the front | insert {k} at the front of {x}
rmax         ints ints  0.4  remove_max     -      [x for x in {v} if x != max({v})]
    {x} with the largest element removed | remove the largest element from {x}
rmin         ints ints  0.4  remove_min     -      [x for x in {v} if x != min({v})]
    {x} with the smallest element removed | remove the smallest element from {x}
dups         ints ints  0.5  duplicates     -
    the elements that occur more than once in {x} | find the elements that occur more than once in {x}
    {o} = []
    for x in {v}:
        if {v}.count(x) > 1 and x not in {o}:
            {o}.append(x)
swapends     ints ints  0.4  swap           -      {v}[-1:] + {v}[1:-1] + {v}[:1]
    {x} with the first and last elements swapped | swap the first and last elements of {x}
evenidx      ints ints  0.4  odd_index      -      {v}[1::2]
    the elements at odd indices of {x} | take the elements at odd indices of {x}
evens_first  ints ints  0.35 even_first     -
    {x} with the even elements moved to the front | move the even elements of {x} to the front
    a = []
    b = []
    for x in {v}:
        if x % 2 == 0:
            a.append(x)
        else:
            b.append(x)
    {o} = a + b
""")
