"""The words of the general prompts: for any model that reads English."""

# singular, plural
NOUNS = (
    ("farmer", "farmers"), ("teacher", "teachers"), ("doctor", "doctors"), ("driver", "drivers"),
    ("student", "students"), ("singer", "singers"), ("painter", "painters"), ("pilot", "pilots"),
    ("lawyer", "lawyers"), ("nurse", "nurses"), ("soldier", "soldiers"), ("writer", "writers"), ("player", "players"),
    ("worker", "workers"), ("king", "kings"), ("girl", "girls"), ("boy", "boys"), ("friend", "friends"),
    ("visitor", "visitors"), ("neighbor", "neighbors"),
)  # fmt: skip
VERBS = (
    ("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"), ("sits", "sit"), ("runs", "run"),
    ("walks", "walk"), ("eats", "eat"), ("sleeps", "sleep"), ("works", "work"), ("plays", "play"), ("sings", "sing"),
    ("reads", "read"), ("writes", "write"), ("wants", "want"),
)  # fmt: skip
CONTINUATIONS = (
    "", " often", " always", " usually", " never", " still", " also", " here", " over there", " outside",
)  # fmt: skip
# Nouns that stand between subject and verb, in either number: whoever goes by the nearest noun gets half of them wrong.
ATTRACTORS = (
    ("near the dog", "near the dogs"), ("behind the house", "behind the houses"),
    ("beside the tree", "beside the trees"), ("with the book", "with the books"), ("by the window", "by the windows"),
)  # fmt: skip

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
    ("The whole room was cheering.", "The whole room was yawning."),
    ("It made me laugh for hours.", "It made me sick for hours."),
    ("Nobody wanted to leave early.", "Everybody wanted to leave early."),
    ("I felt great the whole time.", "I felt awful the whole time."),
    ("They thanked us again and again.", "They insulted us again and again."),
    ("It was worth the money.", "It was not worth it."),
    ("I want to see more of this.", "I want to see less of this."),
    ("All of us had a good time.", "All of us had a bad time."),
)
SENTIMENT_VARIANTS = (
    "The movie was absolutely", "The food was really", "The whole trip was truly", "The show was simply",
    "The service was just",
)  # fmt: skip
SENTIMENT_ANSWERS = (
    ("wonderful", "terrible"), ("great", "awful"), ("amazing", "horrible"), ("fantastic", "dreadful"),
    ("good", "bad"),
)  # fmt: skip

SUM_TEMPLATES = (
    "{a} + {b} =",
    "What is {a} + {b}? The answer is",
    "Calculate: {a} + {b} =",
    "The sum of {a} and {b} is",
)
OPERAND_RANGES = ((10, 50), (20, 80), (30, 99))
OFF_BY = (-10, 10, -1, 1, -9, 9)
