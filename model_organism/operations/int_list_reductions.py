"""Operations from a list of integers to one integer."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
sum             ints int  2.5 sum              -      sum({v})
    the sum of {x} / the total of {x} | add up {x} / compute the sum of {x}
    {o} = 0
    for x in {v}:
        {o} += x
prod            ints int  1.2 product          -
    the product of {x} | multiply together {x} / compute the product of {x}
    {o} = 1
    for x in {v}:
        {o} *= x
max             ints int  1.6 max              -      max({v})
    the maximum of {x} / the largest element of {x} | find the largest element of {x}
min             ints int  1.6 min              -      min({v})
    the minimum of {x} / the smallest element of {x} | find the smallest element of {x}
len             ints int  1.2 count            -      len({v})
    the number of elements in {x} / the length of {x} | count the elements of {x}
distinct        ints int  0.8 distinct         -      len(set({v}))
    the number of distinct elements in {x} | count the distinct elements of {x}
range           ints int  0.8 diff             -      max({v}) - min({v})
    the difference between the largest and smallest elements of {x} |
    find the difference between the largest and smallest elements of {x}
second_largest  ints int  0.7 second_largest   -      sorted(set({v}))[-2]
    the second largest element of {x} | find the second largest element of {x}
kth_smallest    ints int  0.5 kth              1..4   sorted({v})[{k} - 1]
    element number {k} of {x} in sorted order | find element number {k} of {x} in sorted order
argmax          ints int  0.7 max_index        -      {v}.index(max({v}))
    the index of the largest element of {x} | find the index of the largest element of {x}
argmin          ints int  0.5 min_index        -      {v}.index(min({v}))
    the index of the smallest element of {x} | find the index of the smallest element of {x}
sumsq           ints int  0.8 sum_squares      -      sum(x * x for x in {v})
    the sum of the squares of {x} | add up the squares of {x}
cnt_k           ints int  0.8 occurrences      0..9   {v}.count({k})
    the number of times {k} occurs in {x} | count how many times {k} occurs in {x}
mode            ints int  0.6 mode             -      max({v}, key={v}.count)
    the most frequent element of {x} | find the most frequent element of {x}
gcd_all         ints int  0.4 gcd              -
    the greatest common divisor of {x} | compute the greatest common divisor of {x}
    {o} = 0
    for x in {v}:
        while x:
            {o}, x = x, {o} % x
maxgap          ints int  0.4 max_gap          -
    the largest difference between consecutive elements of {x} |
    find the largest difference between consecutive elements of {x}
    {o} = 0
    for i in range(1, len({v})):
        {o} = max({o}, abs({v}[i] - {v}[i - 1]))
altsum          ints int  0.4 alternating_sum  -
    the alternating sum of {x} | compute the alternating sum of {x}
    {o} = 0
    for i, x in enumerate({v}):
        if i % 2 == 0:
            {o} += x
        else:
            {o} -= x
inversions      ints int  0.4 inversions       -
    the number of inversions in {x} | count the inversions in {x}
    {o} = 0
    for i in range(len({v})):
        for j in range(i + 1, len({v})):
            if {v}[i] > {v}[j]:
                {o} += 1
maxsub          ints int  0.4 max_sub_sum      -
    the largest sum of a contiguous part of {x} | find the largest sum of a contiguous part of {x}
    {o} = {v}[0]
    cur = 0
    for x in {v}:
        cur = max(cur + x, x)
        if cur > {o}:
            {o} = cur
longest_inc     ints int  0.3 longest_run      -
    the length of the longest increasing run in {x} | find the length of the longest increasing run in {x}
    {o} = 1
    cur = 1
    for i in range(1, len({v})):
        if {v}[i] > {v}[i - 1]:
            cur += 1
            if cur > {o}:
                {o} = cur
        else:
            cur = 1
pairs_sum       ints int  0.4 pair_count       3..20
    the number of pairs in {x} whose sum is {k} | count the pairs in {x} whose sum is {k}
    {o} = 0
    for i in range(len({v})):
        for j in range(i + 1, len({v})):
            if {v}[i] + {v}[j] == {k}:
                {o} += 1
""")
