"""Operations from a list of integers to another type."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
chunk       ints matrix  0.7 chunks         2..4   [{v}[i:i + {k}] for i in range(0, len({v}), {k})]
    {x} split into chunks of size {k} | split {x} into chunks of size {k}
windows     ints matrix  0.4 windows        2..4   [{v}[i:i + {k}] for i in range(len({v}) - {k} + 1)]
    the windows of length {k} of {x} | list the windows of length {k} of {x}
freq        ints other   0.8 frequency      -
    a dictionary counting each element of {x} | count how often each element of {x} occurs
    {o} = {}
    for x in {v}:
        {o}[x] = {o}.get(x, 0) + 1
bysign      ints other   0.3 group          -
    a dictionary of the even and odd elements of {x} | group {x} into even and odd elements
    {o} = {'even': [], 'odd': []}
    for x in {v}:
        if x % 2 == 0:
            {o}['even'].append(x)
        else:
            {o}['odd'].append(x)
strs        ints words   0.6 to_str         -      [str(x) for x in {v}]
    the elements of {x} as strings | convert each element of {x} to a string
joinL       ints text    0.6 join           -,+:/  '{k}'.join(str(x) for x in {v})
    the elements of {x} joined by '{k}' | join the elements of {x} with '{k}'
is_sorted   ints bool    0.5 is_sorted      -      {v} == sorted({v})
    whether {x} is sorted | check whether {x} is sorted
is_palL     ints bool    0.4 is_palindrome  -      {v} == {v}[::-1]
    whether {x} reads the same backwards | check whether {x} reads the same backwards
has_dup     ints bool    0.5 has_dup        -      len({v}) != len(set({v}))
    whether {x} contains duplicates | check whether {x} contains duplicates
contains_k  ints bool    0.5 contains       0..12  {k} in {v}
    whether {x} contains {k} | check whether {x} contains {k}
fizz        ints words   0.4 label          2..7   ['yes' if x % {k} == 0 else 'no' for x in {v}]
    {x} with multiples of {k} written as 'yes' and other numbers as 'no' |
    label each element of {x} 'yes' if it is a multiple of {k} and 'no' otherwise
""")
