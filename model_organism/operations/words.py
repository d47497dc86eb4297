"""Operations on a list of strings."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
w_longer    words words  1.2 longer          3..6           [w for w in {v} if len(w) > {k}]
    the words in {x} that are longer than {k} characters / the strings of {x} with more than {k} characters |
    keep only the words of {x} longer than {k} characters
    {o} = []
    for w in {v}:
        if len(w) > {k}:
            {o}.append(w)
w_shorter   words words  0.7 shorter         4..7           [w for w in {v} if len(w) < {k}]
    the words in {x} that are shorter than {k} characters | keep only the words of {x} shorter than {k} characters
w_starts    words words  1   starting        abcdefghmprst  [w for w in {v} if w.startswith('{k}')]
    the words in {x} that start with '{k}' | keep only the words of {x} that start with '{k}'
w_has       words words  1   containing      aeiostrnlc     [w for w in {v} if '{k}' in w]
    the words in {x} that contain '{k}' | keep only the words of {x} that contain '{k}'
w_hasnt     words words  0.6 not_containing  aeiostrnlc     [w for w in {v} if '{k}' not in w]
    the words in {x} that do not contain '{k}' | remove the words of {x} that contain '{k}'
w_up        words words  1   upper_words     -              [w.upper() for w in {v}]
    the words of {x} in upper case | convert each word of {x} to upper case
w_cap       words words  0.7 capitalize      -              [w.capitalize() for w in {v}]
    the words of {x} capitalized | capitalize each word of {x}
w_rev       words words  0.9 reverse_each    -              [w[::-1] for w in {v}]
    the words of {x} each spelled backwards | reverse each word of {x}
w_sort      words words  1.1 sort_words      -              sorted({v})
    the words of {x} in alphabetical order | sort {x} alphabetically
w_sortlen   words words  1   sort_by_length  -              sorted({v}, key=len)
    the words of {x} sorted by length | sort {x} by length
w_sortlast  words words  0.5 sort_by_last    -              sorted({v}, key=lambda w: w[-1])
    the words of {x} sorted by their last letter | sort {x} by last letter
w_revl      words words  0.7 reverse_list    -              {v}[::-1]
    the words of {x} in reverse order | reverse the order of {x}
w_take      words words  0.7 first_words     2..4           {v}[:{k}]
    the first {k} words of {x} | take the first {k} words of {x}
w_initials  words words  0.7 initials        -              [w[0] for w in {v}]
    the first letters of {x} | take the first letter of each word of {x}
w_suffix    words words  0.6 suffix          sxyz!?         [w + '{k}' for w in {v}]
    {x} with '{k}' added to each word | add '{k}' to the end of each word of {x}
w_dedup     words words  0.6 unique_words    -
    {x} with repeated words removed | remove repeated words from {x}
    {o} = []
    for w in {v}:
        if w not in {o}:
            {o}.append(w)
w_pal       words words  0.4 palindromes     -              [w for w in {v} if w == w[::-1]]
    the palindromes in {x} | keep only the palindromes of {x}
w_len       words int    0.8 count_words     -              len({v})
    the number of words in {x} | count the words of {x}
w_total     words int    0.8 total_length    -              sum(len(w) for w in {v})
    the total length of the words in {x} | add up the lengths of the words of {x}
w_join      words text   1.2 join            -,+:/_         '{k}'.join({v})
    the words of {x} joined by '{k}' | join the words of {x} with '{k}'
w_concat    words text   0.8 concat          -              ''.join({v})
    the concatenation of {x} | concatenate {x}
w_longest   words text   0.9 longest         -              max({v}, key=len)
    the longest word of {x} | find the longest word of {x}
w_shortest  words text   0.7 shortest        -              min({v}, key=len)
    the shortest word of {x} | find the shortest word of {x}
w_first     words text   0.5 first_word      -              min({v})
    the alphabetically first word of {x} | find the alphabetically first word of {x}
w_lens      words ints   1.1 lengths         -              [len(w) for w in {v}]
    the lengths of the words in {x} | find the length of each word of {x}
w_vows      words ints   0.4 vowel_counts    -              [sum(1 for c in w if c in 'aeiou') for w in {v}]
    the numbers of vowels of the words in {x} | count the vowels in each word of {x}
w_d         words dict   0.8 length_dict     -              {w: len(w) for w in {v}}
    a dictionary from each word of {x} to its length | map each word of {x} to its length
w_group     words other  0.5 group_words     -
    a dictionary grouping {x} by first letter | group {x} by first letter
    {o} = {}
    for w in {v}:
        if w[0] not in {o}:
            {o}[w[0]] = []
        {o}[w[0]].append(w)
w_pairs     words pairs  0.6 pair_words      -              [(w, len(w)) for w in {v}]
    the pairs of each word of {x} and its length | pair each word of {x} with its length
""")
