"""Operations on a list of lists of integers."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
m_flat      matrix ints    1.4 flatten         -     [x for row in {v} for x in row]
    the elements of all sublists of {x} / the flattened {x} | flatten {x}
    {o} = []
    for row in {v}:
        for x in row:
            {o}.append(x)
m_sums      matrix ints    1.1 row_sums        -     [sum(row) for row in {v}]
    the sums of the sublists of {x} | sum each sublist of {x}
m_maxs      matrix ints    0.9 row_max         -     [max(row) for row in {v}]
    the largest elements of the sublists of {x} | find the largest element of each sublist of {x}
m_mins      matrix ints    0.6 row_min         -     [min(row) for row in {v}]
    the smallest elements of the sublists of {x} | find the smallest element of each sublist of {x}
m_lens      matrix ints    0.8 row_lengths     -     [len(row) for row in {v}]
    the lengths of the sublists of {x} | find the length of each sublist of {x}
m_firsts    matrix ints    0.8 firsts          -     [row[0] for row in {v}]
    the first elements of the sublists of {x} | take the first element of each sublist of {x}
m_lasts     matrix ints    0.6 lasts           -     [row[-1] for row in {v}]
    the last elements of the sublists of {x} | take the last element of each sublist of {x}
m_sortrows  matrix matrix  0.8 sort_rows       -     [sorted(row) for row in {v}]
    {x} with each sublist sorted | sort each sublist of {x}
m_revrows   matrix matrix  0.7 reverse_rows    -     [row[::-1] for row in {v}]
    {x} with each sublist reversed | reverse each sublist of {x}
m_bylen     matrix matrix  0.7 sort_by_length  -     sorted({v}, key=len)
    {x} sorted by sublist length | sort {x} by sublist length
m_bysum     matrix matrix  0.6 sort_by_sum     -     sorted({v}, key=sum)
    {x} sorted by the sum of each sublist | sort {x} by the sum of each sublist
m_longer    matrix matrix  0.6 long_rows       1..3  [row for row in {v} if len(row) > {k}]
    the sublists of {x} with more than {k} elements | keep only the sublists of {x} with more than {k} elements
m_total     matrix int     0.8 total           -     sum(sum(row) for row in {v})
    the total of all elements in {x} | add up all elements of {x}
    {o} = 0
    for row in {v}:
        for x in row:
            {o} += x
m_rows      matrix int     0.6 count_rows      -     len({v})
    the number of sublists in {x} | count the sublists of {x}
m_cnt       matrix int     0.4 count_positive  -
    the number of positive elements in all sublists of {x} | count the positive elements in all sublists of {x}
    {o} = 0
    for row in {v}:
        for x in row:
            if x > 0:
                {o} += 1
m_sq        matrix matrix  0.5 square_all      -     [[x * x for x in row] for row in {v}]
    {x} with every element squared | square every element in all sublists of {x}
m_longest   matrix ints    0.6 longest_row     -     max({v}, key=len)
    the longest sublist of {x} | find the longest sublist of {x}
""")
