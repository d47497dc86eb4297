"""Operations on one integer; those on `positive` need it to be at least 1."""

from model_organism.operations.table import read_table

OPERATIONS = read_table("""
i_digsum   int      int   1    digit_sum       -      sum(int(d) for d in str(abs({v})))
    the sum of the digits of {x} | add up the digits of {x}
i_rev      int      int   0.7  reverse_digits  -      int(str(abs({v}))[::-1])
    the number formed by reversing the digits of {x} | reverse the digits of {x}
i_sq       int      int   1    square          -      {v} * {v}
    the square of {x} | square {x}
i_cube     int      int   0.5  cube            -      {v} ** 3
    the cube of {x} | cube {x}
i_add      int      int   0.9  add             1..50  {v} + {k}
    {x} plus {k} | add {k} to {x}
i_sub      int      int   0.6  subtract        1..50  {v} - {k}
    {x} minus {k} | subtract {k} from {x}
i_mul      int      int   0.9  times           2..20  {v} * {k}
    {x} times {k} | multiply {x} by {k}
i_mod      int      int   0.8  remainder       3..12  {v} % {k}
    the remainder when {x} is divided by {k} | take the remainder when {x} is divided by {k}
i_div      int      int   0.6  quotient        2..9   {v} // {k}
    the integer quotient of {x} and {k} | divide {x} by {k} rounding down
i_ndig     int      int   0.6  num_digits      -      len(str(abs({v})))
    the number of digits of {x} | count the digits of {x}
i_bits     int      int   0.5  count_ones      -      bin({v}).count('1')
    the number of ones in the binary form of {x} | count the ones in the binary form of {x}
i_fact     positive int   0.8  factorial       -
    the factorial of {x} | compute the factorial of {x}
    {o} = 1
    for i in range(2, {v} + 1):
        {o} *= i
i_fib      positive int   0.7  fibonacci       -
    the Fibonacci number at position {x} | compute the Fibonacci number at position {x}
    {o} = 0
    b = 1
    for i in range({v}):
        {o}, b = b, {o} + b
i_tri      positive int   0.8  sum_to_n        -      sum(range(1, {v} + 1))
    the sum of the numbers from 1 to {x} | add up the numbers from 1 to {x}
    {o} = 0
    for i in range(1, {v} + 1):
        {o} += i
i_sqs      positive int   0.5  sum_squares     -
    the sum of the first squares up to {x} | add up the squares from 1 to {x}
    {o} = 0
    for i in range(1, {v} + 1):
        {o} += i * i
i_ndivs    positive int   0.6  count_divisors  -
    the number of divisors of {x} | count the divisors of {x}
    {o} = 0
    for i in range(1, {v} + 1):
        if {v} % i == 0:
            {o} += 1
i_gcd      positive int   0.5  gcd             6..60
    the greatest common divisor of {x} and {k} | compute the greatest common divisor of {x} and {k}
    {o} = {v}
    b = {k}
    while b:
        {o}, b = b, {o} % b
i_collatz  positive int   0.35 collatz         -
    the number of Collatz steps from {x} to 1 | count the Collatz steps from {x} to 1
    {o} = 0
    x = {v}
    while x > 1:
        if x % 2 == 0:
            x = x // 2
        else:
            x = 3 * x + 1
        {o} += 1
i_digs     int      ints  1    digits          -      [int(d) for d in str(abs({v}))]
    the digits of {x} | list the digits of {x}
i_divs     positive ints  1    divisors        -      [i for i in range(1, {v} + 1) if {v} % i == 0]
    the divisors of {x} | list the divisors of {x}
i_range    positive ints  1.2  numbers         -      list(range(1, {v} + 1))
    the numbers from 1 to {x} | list the numbers from 1 to {x}
i_evens    positive ints  0.8  evens           -      list(range(2, {v} + 1, 2))
    the even numbers up to {x} | list the even numbers up to {x}
i_odds     positive ints  0.8  odds            -      list(range(1, {v} + 1, 2))
    the odd numbers up to {x} | list the odd numbers up to {x}
i_mult     positive ints  0.7  multiples       2..7   list(range({k}, {v} + 1, {k}))
    the multiples of {k} up to {x} | list the multiples of {k} up to {x}
i_primes   positive ints  0.7  primes          -
    the prime numbers up to {x} | list the prime numbers up to {x}
    {o} = []
    for i in range(2, {v} + 1):
        if all(i % j != 0 for j in range(2, i)):
            {o}.append(i)
i_sqlist   positive ints  0.7  squares         -      [i * i for i in range(1, {v} + 1)]
    the squares of the numbers from 1 to {x} | list the squares of the numbers from 1 to {x}
i_bin      int      text  0.6  to_binary       -      bin({v})[2:]
    the binary form of {x} | convert {x} to binary
i_str      int      text  0.6  to_string       -      str({v})
    {x} as a string | convert {x} to a string
i_prime    positive bool  0.7  is_prime        -
    whether {x} is prime | check whether {x} is prime
    for i in range(2, {v}):
        if {v} % i == 0:
            return False
    {o} = {v} > 1
i_even     int      bool  0.6  is_even         -      {v} % 2 == 0
    whether {x} is even | check whether {x} is even
i_isdiv    int      bool  0.6  is_divisible    3..9   {v} % {k} == 0
    whether {x} is divisible by {k} | check whether {x} is divisible by {k}
i_gt       int      bool  0.5  is_greater      3..50  {v} > {k}
    whether {x} is greater than {k} | check whether {x} is greater than {k}
i_parity   int      text  0.5  parity          -      'even' if {v} % 2 == 0 else 'odd'
    'even' or 'odd' depending on {x} | say whether {x} is 'even' or 'odd'
    if {v} % 2 == 0:
        {o} = 'even'
    else:
        {o} = 'odd'
i_sign     int      text  0.4  sign            -
    'positive', 'negative' or 'zero' depending on {x} | say whether {x} is 'positive', 'negative' or 'zero'
    if {v} > 0:
        {o} = 'positive'
    elif {v} < 0:
        {o} = 'negative'
    else:
        {o} = 'zero'
i_range2   int      int   0.5  absolute        -      abs({v})
    the absolute value of {x} | take the absolute value of {x}
""")
