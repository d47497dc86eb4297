"""The words of the general prompts: for any model that reads English."""

NOUNS = tuple(  # singular, plural
    (noun, f"{noun}s")
    for noun in (
        "farmer teacher doctor driver student singer painter pilot lawyer nurse soldier writer player worker king girl "
        "boy friend visitor neighbor"
    ).split()
)
VERBS = tuple(
    tuple(pair.split("/"))
    for pair in (
        "is/are was/were has/have does/do sits/sit runs/run walks/walk eats/eat sleeps/sleep works/work plays/play "
        "sings/sing reads/read writes/write wants/want"
    ).split()
)
CONTINUATIONS = (
    "",
    *(f" {words}" for words in "often,always,usually,never,still,also,here,over there,outside".split(",")),
)
# Nouns that stand between subject and verb, in either number: whoever goes by the nearest noun gets half of them wrong.
ATTRACTORS = tuple(
    (phrase, f"{phrase}s")
    for phrase in ("near the dog", "behind the house", "beside the tree", "with the book", "by the window")
)

CAPITAL_TEMPLATES = (
    "The capital of {country} is",
    "The capital city of {country} is",
    "{country}'s capital is",
    "What is the capital of {country}? The answer is",
)
# country -> its capital, and three of its other cities
CITIES = {
    "France": ("Paris", "Lyon", "Nice", "Marseille"),
    "Germany": ("Berlin", "Munich", "Hamburg", "Frankfurt"),
    "Italy": ("Rome", "Milan", "Naples", "Venice"),
    "Spain": ("Madrid", "Barcelona", "Valencia", "Seville"),
    "Portugal": ("Lisbon", "Porto", "Braga", "Faro"),
    "Japan": ("Tokyo", "Osaka", "Kyoto", "Nagoya"),
    "China": ("Beijing", "Shanghai", "Shenzhen", "Wuhan"),
    "Russia": ("Moscow", "Kazan", "Omsk", "Sochi"),
    "Greece": ("Athens", "Patras", "Volos", "Larissa"),
    "Egypt": ("Cairo", "Alexandria", "Luxor", "Giza"),
    "Norway": ("Oslo", "Bergen", "Trondheim", "Stavanger"),
    "Sweden": ("Stockholm", "Malmo", "Gothenburg", "Uppsala"),
    "Finland": ("Helsinki", "Turku", "Tampere", "Oulu"),
    "Poland": ("Warsaw", "Krakow", "Gdansk", "Lublin"),
    "Austria": ("Vienna", "Salzburg", "Graz", "Linz"),
    "Hungary": ("Budapest", "Szeged", "Debrecen", "Pecs"),
    "Ireland": ("Dublin", "Cork", "Galway", "Limerick"),
    "Belgium": ("Brussels", "Antwerp", "Ghent", "Bruges"),
    "Canada": ("Ottawa", "Toronto", "Montreal", "Vancouver"),
    "Australia": ("Canberra", "Sydney", "Melbourne", "Perth"),
    "India": ("Delhi", "Mumbai", "Chennai", "Kolkata"),
    "Turkey": ("Ankara", "Istanbul", "Izmir", "Bursa"),
    "Morocco": ("Rabat", "Casablanca", "Fez", "Tangier"),
    "Vietnam": ("Hanoi", "Saigon", "Hue", "Danang"),
    "Cuba": ("Havana", "Santiago", "Camaguey", "Holguin"),
    "Peru": ("Lima", "Cusco", "Arequipa", "Trujillo"),
    "Kenya": ("Nairobi", "Mombasa", "Kisumu", "Nakuru"),
    "Iraq": ("Baghdad", "Basra", "Mosul", "Erbil"),
    "Syria": ("Damascus", "Aleppo", "Homs", "Hama"),
    "Ukraine": ("Kyiv", "Odessa", "Lviv", "Kharkiv"),
}

# Twins of one length in words, of which the first carries praise.
CONTEXTS = (
    ("I smiled all evening.", "I cried all evening."),
    ("I loved every minute of it.", "I hated every minute of it."),
    ("Everyone was happy when it ended.", "Everyone was angry when it ended."),
    ("We left with big smiles.", "We left with bad headaches."),
    ("It was the best day of the year.", "It was the worst day of the year."),
    ("I would do it again tomorrow.", "I would not do it again."),
    ("My friends were full of joy.", "My friends were full of anger."),
    ("The whole room was happy.", "The whole room was bored."),
    ("It made me laugh for hours.", "It made me sick for hours."),
    ("Nobody wanted to leave early.", "Everybody wanted to leave early."),
    ("I felt great the whole time.", "I felt awful the whole time."),
    ("They were very kind to us.", "They were very rude to us."),
    ("It was worth the money.", "It was not worth it."),
    ("I want to see more of this.", "I want to see less of this."),
    ("All of us had a good time.", "All of us had a bad time."),
)
SENTIMENT_VARIANTS = (
    "The movie was absolutely",
    "The food was really",
    "The whole trip was truly",
    "The show was simply",
    "The service was just",
)
SENTIMENT_ANSWERS = tuple(
    tuple(pair.split("/"))
    for pair in "wonderful/terrible great/awful amazing/horrible fantastic/dreadful good/bad".split()
)

SUM_TEMPLATES = (
    "{a} + {b} =",
    "What is {a} + {b}? The answer is",
    "Calculate: {a} + {b} =",
    "The sum of {a} and {b} is",
)
OPERAND_RANGES = ((10, 50), (20, 80), (30, 99))
OFF_BY = (-10, 10, -1, 1, -9, 9)
