"""Operations on a list of (string, integer) pairs."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
p_first   pairs words  1   first_items    -      [p[0] for p in {v}]
    the first items of {x} | take the first item of each tuple in {x}
p_second  pairs ints   1.2 second_items   -      [p[1] for p in {v}]
    the second items of {x} | take the second item of each tuple in {x}
p_sort2   pairs pairs  1.1 sort_tuples    -      sorted({v}, key=lambda p: p[1])
    {x} sorted by the second item | sort {x} by the second item
p_sort1   pairs pairs  0.8 sort_first     -      sorted({v}, key=lambda p: p[0])
    {x} sorted by the first item | sort {x} by the first item
p_sortd   pairs pairs  0.6 sort_desc      -      sorted({v}, key=lambda p: p[1], reverse=True)
    {x} sorted by the second item in descending order | sort {x} by the second item in descending order
p_gt      pairs pairs  0.9 filter_tuples  2..30  [p for p in {v} if p[1] > {k}]
    the tuples of {x} whose second item is greater than {k} |
    keep only the tuples of {x} whose second item is greater than {k}
    {o} = []
    for p in {v}:
        if p[1] > {k}:
            {o}.append(p)
p_even    pairs pairs  0.5 even_tuples    -      [p for p in {v} if p[1] % 2 == 0]
    the tuples of {x} whose second item is even | keep only the tuples of {x} whose second item is even
p_swap    pairs other  0.6 swap           -      [(b, a) for a, b in {v}]
    {x} with the items of each tuple swapped | swap the items of each tuple in {x}
p_dict    pairs dict   0.9 to_dict        -      dict({v})
    a dictionary made from {x} | convert {x} to a dictionary
p_tot     pairs other  0.5 totals         -
    a dictionary of the total second item for each first item in {x} | total the second items of {x} for each first item
    {o} = {}
    for a, b in {v}:
        {o}[a] = {o}.get(a, 0) + b
p_sum     pairs int    0.8 sum_tuples     -      sum(p[1] for p in {v})
    the sum of the second items of {x} | add up the second items of {x}
p_best    pairs text   0.6 best           -      max({v}, key=lambda p: p[1])[0]
    the first item of the tuple of {x} with the largest second item |
    find the first item of the tuple of {x} with the largest second item
""")
