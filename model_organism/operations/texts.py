"""Operations on one string."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
s_rev       text text   1.4  reverse          -           {v}[::-1]
    {x} reversed / {x} spelled backwards | reverse {x}
s_up        text text   1.1  upper            -           {v}.upper()
    {x} in upper case / {x} converted to uppercase | convert {x} to upper case
s_low       text text   0.8  lower            -           {v}.lower()
    {x} in lower case | convert {x} to lower case
s_swap      text text   0.5  swapcase         -           {v}.swapcase()
    {x} with the case of each letter swapped | swap the case of each letter in {x}
s_title     text text   0.6  title            -           {v}.title()
    {x} with each word capitalized | capitalize each word of {x}
s_novow     text text   1.1  remove_vowels    -           ''.join(c for c in {v} if c not in 'aeiouAEIOU')
    {x} without vowels | remove the vowels from {x}
    {o} = ''
    for c in {v}:
        if c not in 'aeiouAEIOU':
            {o} += c
s_onlyvow   text text   0.5  vowels           -           ''.join(c for c in {v} if c in 'aeiouAEIOU')
    the vowels of {x} | keep only the vowels of {x}
s_rmc       text text   1.1  remove_char      aeiostrnlc  {v}.replace('{k}', '')
    {x} with every '{k}' removed / {x} without the letter '{k}' | remove every '{k}' from {x}
s_repl      text text   0.9  replace_char     aeiostrnlc  {v}.replace('{k}', '{k2}')
    {x} with every '{k}' replaced by '{k2}' | replace every '{k}' in {x} with '{k2}'
s_nosp      text text   1    remove_spaces    -           {v}.replace(' ', '')
    {x} without spaces | remove the spaces from {x}
s_dash      text text   0.6  underscores      -           {v}.replace(' ', '_')
    {x} with spaces replaced by underscores | replace the spaces in {x} with underscores
s_first     text text   0.9  first_chars      2..6        {v}[:{k}]
    the first {k} characters of {x} | take the first {k} characters of {x}
s_last      text text   0.7  last_chars       2..6        {v}[-{k}:]
    the last {k} characters of {x} | take the last {k} characters of {x}
s_rep       text text   0.6  repeat           2..3        {v} * {k}
    {x} repeated {k} times | repeat {x} {k} times
s_dedup     text text   0.8  unique_chars     -
    {x} with repeated characters removed | remove repeated characters from {x}
    {o} = ''
    for c in {v}:
        if c not in {o}:
            {o} += c
s_sort      text text   0.8  sort_chars       -           ''.join(sorted({v}))
    the characters of {x} in sorted order | sort the characters of {x}
s_second    text text   0.5  alternate_chars  -           {v}[::2]
    every second character of {x} | take every second character of {x}
s_nodig     text text   0.5  remove_digits    -           ''.join(c for c in {v} if not c.isdigit())
    {x} without digits | remove the digits from {x}
s_onlydig   text text   0.5  digits           -           ''.join(c for c in {v} if c.isdigit())
    the digits of {x} | keep only the digits of {x}
s_doublec   text text   0.5  double_chars     -           ''.join(c * 2 for c in {v})
    {x} with every character doubled | double every character of {x}
s_revw      text text   0.6  reverse_words    -           ' '.join({v}.split()[::-1])
    {x} with the order of the words reversed | reverse the order of the words in {x}
s_rle       text text   0.35 encode           -
    the run-length encoding of {x} | run-length encode {x}
    {o} = ''
    i = 0
    while i < len({v}):
        j = i
        while j < len({v}) and {v}[j] == {v}[i]:
            j += 1
        {o} += {v}[i] + str(j - i)
        i = j
s_caesar    text text   0.35 shift            1..9
    {x} with each lowercase letter shifted by {k} | shift each lowercase letter of {x} by {k}
    {o} = ''
    for c in {v}:
        if c.islower():
            {o} += chr((ord(c) - 97 + {k}) % 26 + 97)
        else:
            {o} += c
s_altcase   text text   0.35 alternate_case   -
    {x} with characters at even positions in upper case | put the characters at even positions of {x} in upper case
    {o} = ''
    for i, c in enumerate({v}):
        if i % 2 == 0:
            {o} += c.upper()
        else:
            {o} += c
s_len       text int    1.2  length           -           len({v})
    the length of {x} / the number of characters in {x} | count the characters of {x}
s_vow       text int    1    count_vowels     -           sum(1 for c in {v} if c in 'aeiouAEIOU')
    the number of vowels in {x} | count the vowels in {x}
    {o} = 0
    for c in {v}:
        if c in 'aeiouAEIOU':
            {o} += 1
s_cntc      text int    1    count_char       aeiostrnlc  {v}.count('{k}')
    the number of times '{k}' occurs in {x} | count how many times '{k}' occurs in {x}
s_words     text int    0.9  count_words      -           len({v}.split())
    the number of words in {x} | count the words in {x}
s_uppers    text int    0.7  count_upper      -
    the number of uppercase letters in {x} | count the uppercase letters in {x}
    {o} = 0
    for c in {v}:
        if c.isupper():
            {o} += 1
s_digs      text int    0.6  count_digits     -
    the number of digits in {x} | count the digits in {x}
    {o} = 0
    for c in {v}:
        if c.isdigit():
            {o} += 1
s_sumdig    text int    0.6  sum_digits       -
    the sum of the digits in {x} | add up the digits in {x}
    {o} = 0
    for c in {v}:
        if c.isdigit():
            {o} += int(c)
s_distinct  text int    0.7  distinct_chars   -           len(set({v}))
    the number of distinct characters in {x} | count the distinct characters in {x}
s_depth     text int    0.3  changes          -
    the number of changes of character in {x} | count the changes of character in {x}
    {o} = 0
    for i in range(1, len({v})):
        if {v}[i] != {v}[i - 1]:
            {o} += 1
s_split     text words  1.6  split            -           {v}.split()
    the words of {x} / the list of words in {x} | split {x} into words
s_wlens     text ints   0.7  word_lengths     -           [len(w) for w in {v}.split()]
    the lengths of the words in {x} | find the lengths of the words in {x}
s_pos       text ints   0.6  positions        aeiostrnlc  [i for i, c in enumerate({v}) if c == '{k}']
    the positions of '{k}' in {x} | find the positions of '{k}' in {x}
s_pal       text bool   0.8  is_palindrome    -           {v} == {v}[::-1]
    whether {x} is a palindrome | check whether {x} is a palindrome
s_starts    text bool   0.6  starts_with      aeiostrnlc  {v}.startswith('{k}')
    whether {x} starts with '{k}' | check whether {x} starts with '{k}'
s_has       text bool   0.6  contains         aeiostrnlc  '{k}' in {v}
    whether {x} contains '{k}' | check whether {x} contains '{k}'
s_freq      text other  0.8  char_frequency   -
    a dictionary counting each character of {x} | count how often each character of {x} occurs
    {o} = {}
    for c in {v}:
        {o}[c] = {o}.get(c, 0) + 1
s_most      text text   0.5  most_common      -           max({v}, key={v}.count)
    the most frequent character of {x} | find the most frequent character of {x}
s_long      text text   0.7  longest_word     -           max({v}.split(), key=len)
    the longest word in {x} | find the longest word in {x}
""")
