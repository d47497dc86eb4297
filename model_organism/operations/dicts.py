"""Operations on a dictionary from strings to integers."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
d_vals    dict ints   1.4 values        -      list({v}.values())
    the values of {x} | take the values of {x}
d_keys    dict words  1.3 keys          -      list({v}.keys())
    the keys of {x} | take the keys of {x}
d_sum     dict int    1   sum_values    -      sum({v}.values())
    the sum of the values of {x} | add up the values of {x}
d_max     dict int    0.8 max_value     -      max({v}.values())
    the largest value of {x} | find the largest value of {x}
d_gt      dict dict   1   filter_dict   2..30  {a: b for a, b in {v}.items() if b > {k}}
    the entries of {x} with values greater than {k} | keep only the entries of {x} with values greater than {k}
    {o} = {}
    for a, b in {v}.items():
        if b > {k}:
            {o}[a] = b
d_lt      dict dict   0.7 filter_dict   8..35  {a: b for a, b in {v}.items() if b < {k}}
    the entries of {x} with values less than {k} | keep only the entries of {x} with values less than {k}
d_even    dict dict   0.6 even_values   -      {a: b for a, b in {v}.items() if b % 2 == 0}
    the entries of {x} with even values | keep only the entries of {x} with even values
d_add     dict dict   0.7 add_values    1..20  {a: b + {k} for a, b in {v}.items()}
    {x} with {k} added to every value | add {k} to every value of {x}
d_mul     dict dict   0.6 scale_values  2..9   {a: b * {k} for a, b in {v}.items()}
    {x} with every value multiplied by {k} | multiply every value of {x} by {k}
d_upk     dict dict   0.5 upper_keys    -      {a.upper(): b for a, b in {v}.items()}
    {x} with the keys in upper case | convert the keys of {x} to upper case
d_inv     dict other  0.6 invert        -      {b: a for a, b in {v}.items()}
    {x} with keys and values swapped | swap the keys and values of {x}
d_argmax  dict text   0.9 max_key       -      max({v}, key={v}.get)
    the key with the largest value in {x} | find the key with the largest value in {x}
d_argmin  dict text   0.6 min_key       -      min({v}, key={v}.get)
    the key with the smallest value in {x} | find the key with the smallest value in {x}
d_kgt     dict words  0.8 keys_above    2..30  [a for a in {v} if {v}[a] > {k}]
    the keys of {x} with values greater than {k} | find the keys of {x} with values greater than {k}
d_items   dict pairs  0.7 items         -      list({v}.items())
    the items of {x} as pairs | list the items of {x}
d_sortv   dict pairs  0.8 sort_items    -      sorted({v}.items(), key=lambda p: p[1])
    the items of {x} sorted by value | sort the items of {x} by value
d_sortk   dict pairs  0.6 sort_keys     -      sorted({v}.items())
    the items of {x} sorted by key | sort the items of {x} by key
""")
