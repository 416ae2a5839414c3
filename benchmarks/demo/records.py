"""Instruction records of the project's own: eight categories, made by seed, each with an answer that can be checked.

Every response has the same house style, which a model has to learn from the data::

    Answer: 42
    Why: 17 + 25 = 42.

What a record asks about (the two numbers of a sum, the animal to be classified) decides by its hash whether the record
is for training or held out, so no question of the one is ever met in the other, whatever the seeds.
"""

import datetime
import hashlib
import random
import re
from collections.abc import Callable
from typing import NamedTuple, TypedDict


class Record(TypedDict):
    """One instruction record in dolly's form."""

    instruction: str
    context: str
    response: str
    category: str


class _Draft(NamedTuple):
    """A question with its answer. Two drafts with the same ``about`` ask for the same thing in other words."""

    about: str
    instruction: str
    answer: str
    why: str
    context: str = ""


_HELD_OUT_ONE_IN = 4
_DRAWS_PER_RECORD = 1000
_MARK = "Answer:"

_NAMES = (
    "Amina Bram Chloe Dario Elif Femi Greta Hana Ivo Jonas Kofi Lena Mara Nils Olga Paulo Quinn Rosa Sven Tara Umar "
    "Vera Wim Yara Zeno"
).split()
_GOODS = "stamps apples books marbles candles postcards pencils coins shells tickets".split()
_WORDS = (
    "anchor basket candle desert engine forest garden hammer island jacket kettle lantern mirror needle orange pillow "
    "quartz ribbon saddle tunnel umbrella violin window yogurt zipper barrel copper dragon feather glacier harbour "
    "insect jungle kitchen ladder meadow nutmeg oyster pepper rocket silver timber velvet walnut blanket compass"
).split()
_CITIES = "Oslo Lima Cairo Kyoto Porto Quito Riga Turin Accra Bern Dakar Hanoi Leeds Malmo Nantes Perth".split()
_TRADES = {
    "bakes bread": "baking bread",
    "repairs clocks": "repairing clocks",
    "keeps bees": "keeping bees",
    "builds boats": "building boats",
    "grows roses": "growing roses",
    "teaches chess": "teaching chess",
    "paints signs": "painting signs",
    "tunes pianos": "tuning pianos",
    "trains dogs": "training dogs",
    "makes cheese": "making cheese",
}
_CLASSES = {
    "bird": "sparrow eagle pelican heron magpie robin swallow kestrel puffin wren finch stork",
    "fish": "trout salmon herring carp cod mackerel sardine perch haddock halibut pike tuna",
    "insect": "beetle wasp ant moth cricket termite ladybird grasshopper dragonfly hornet mosquito firefly",
    "tool": "hammer chisel wrench drill spanner plane saw trowel screwdriver crowbar mallet rake",
    "fruit": "pear mango cherry apricot fig plum papaya peach banana melon quince raspberry",
    "vegetable": "leek carrot cabbage turnip spinach radish parsnip celery beetroot kale broccoli onion",
    "instrument": "cello flute trumpet banjo harp oboe clarinet tuba mandolin bassoon trombone lute",
    "vehicle": "tram lorry bicycle scooter canoe ferry tractor van glider minibus sledge motorcycle",
}
_UNITS = [
    ("metre", "centimetres", 100),
    ("kilometre", "metres", 1000),
    ("kilogram", "grams", 1000),
    ("hour", "minutes", 60),
    ("minute", "seconds", 60),
    ("day", "hours", 24),
    ("week", "days", 7),
    ("litre", "millilitres", 1000),
    ("year", "months", 12),
    ("dozen", "pieces", 12),
]
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _arithmetic(rng: random.Random) -> _Draft:
    who, other = rng.sample(_NAMES, 2)
    goods = rng.choice(_GOODS)
    kind = rng.choice("+-*/")
    if kind == "+":
        a, b = rng.randint(12, 99), rng.randint(12, 99)
        asked = f"{who} has {a} {goods} and gets {b} more from {other}. How many {goods} does {who} have now?"
        return _Draft(f"{a}+{b}", asked, str(a + b), f"{a} + {b} = {a + b}.")
    if kind == "-":
        a, b = rng.randint(40, 99), rng.randint(11, 39)
        asked = f"{who} had {a} {goods} and gave {b} of them to {other}. How many {goods} does {who} have left?"
        return _Draft(f"{a}-{b}", asked, str(a - b), f"{a} - {b} = {a - b}.")
    a, b = rng.randint(3, 12), rng.randint(3, 25)
    if kind == "*":
        asked = f"{who} fills {a} boxes with {b} {goods} each. How many {goods} are there in all?"
        return _Draft(f"{a}*{b}", asked, str(a * b), f"{a} x {b} = {a * b}.")
    asked = f"{who} shares {a * b} {goods} fairly among {a} friends. How many {goods} does each friend get?"
    return _Draft(f"{a * b}/{a}", asked, str(b), f"{a * b} / {a} = {b}.")


def _conversion(rng: random.Random) -> _Draft:
    unit, parts, factor = rng.choice(_UNITS)
    amount = rng.randint(2, 40)
    many, few = f"{amount * factor} {parts}", f"{amount} {unit}s"
    about, rule = few, f"1 {unit} is {factor} {parts}"
    if rng.random() < 0.5:
        asked = rng.choice([f"How many {parts} are {few}?", f"Convert {few} to {parts}."])
        return _Draft(about, asked, many, f"{rule}, and {amount} x {factor} = {amount * factor}.")
    asked = rng.choice([f"How many {unit}s are {many}?", f"Convert {many} to {unit}s."])
    return _Draft(about, asked, few, f"{rule}, and {amount * factor} / {factor} = {amount}.")


def _sorting(rng: random.Random) -> _Draft:
    if rng.random() < 0.5:
        words = rng.sample(_WORDS, 4)
        context, order = ", ".join(words), ", ".join(sorted(words))
        asked = rng.choice(["Put these words in alphabetical order.", "Sort the words from A to Z."])
        return _Draft(order, asked, order, f"{min(words)} comes first and {max(words)} last in the alphabet.", context)
    numbers = rng.sample(range(10, 1000), 5)
    context, order = ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers)))
    asked = rng.choice(["Sort these numbers from small to large.", "Put the numbers in rising order."])
    return _Draft(order, asked, order, f"{min(numbers)} is the smallest and {max(numbers)} the largest.", context)


def _extraction(rng: random.Random) -> _Draft:
    name, city, day = rng.choice(_NAMES), rng.choice(_CITIES), rng.choice(_WEEKDAYS)
    order, goods = rng.randint(1000, 9999), rng.choice(_GOODS)
    context = rng.choice(
        [
            f"Order {order} with {goods} for {name} was sent to {city} on {day}.",
            f"On {day} the shop in {city} sold {goods} to {name} under order {order}.",
            f"{name} ordered {goods} ({order}) and picked them up in {city} on {day}.",
        ]
    )
    noun, answer = rng.choice([("person", name), ("city", city), ("weekday", day), ("order number", str(order))])
    asked = rng.choice([f"Which {noun} does the text name?", f"Take the {noun} from the text."])
    return _Draft(context, asked, answer, f"{answer} is the {noun} in the text.", context)


def _classification(rng: random.Random) -> _Draft:
    labels = rng.sample(sorted(_CLASSES), 3)
    label = rng.choice(labels)
    item = rng.choice(_CLASSES[label].split())
    listed = f"{labels[0]}, {labels[1]} or {labels[2]}"
    asked = rng.choice([f"Is '{item}' the name of a kind of {listed}?", f"Classify the word '{item}': {listed}?"])
    return _Draft(item, asked, label, f"'{item}' is the name of a kind of {label}.")


def _dates(rng: random.Random) -> _Draft:
    if rng.random() < 0.5:
        start, days = rng.randrange(7), rng.randint(2, 40)
        end = _WEEKDAYS[(start + days) % 7]
        asked = f"Today is {_WEEKDAYS[start]}. Which weekday is it in {days} days?"
        why = f"{days} days are {days // 7} weeks and {days % 7} days, counted on from {_WEEKDAYS[start]}."
        return _Draft(f"{start}+{days}", asked, end, why)
    first = datetime.date(2025, 1, 1) + datetime.timedelta(days=rng.randrange(300))
    days = rng.randint(3, 60)
    last = first + datetime.timedelta(days=days)
    start_text, end_text = f"{first:%B} {first.day}", f"{last:%B} {last.day}"
    asked = f"The year is 2025. Which date is {days} days after {start_text}?"
    return _Draft(f"{first}+{days}", asked, end_text, f"{start_text} plus {days} days is {end_text}.")


def _spelling(rng: random.Random) -> _Draft:
    words = rng.sample(_WORDS, 3)
    word = words[0]
    kind = rng.randrange(4)
    if kind == 0:
        why = f"'{word}' has {len(word)} letters."
        return _Draft(f"upper {word}", f"Write the word '{word}' in capital letters.", word.upper(), why)
    if kind == 1:
        why = f"The letters are {', '.join(word)}."
        return _Draft(f"count {word}", f"How many letters does the word '{word}' have?", str(len(word)), why)
    if kind == 2:
        why = f"'{word}' starts with {word[0]} and ends with {word[-1]}."
        asked = f"Write the first and the last letter of the word '{word}'."
        return _Draft(f"ends {word}", asked, f"{word[0]} and {word[-1]}", why)
    initials = "".join(w[0] for w in words).upper()
    asked = "Make an abbreviation from the first letters of these words."
    why = f"The words start with {', '.join(w[0] for w in words)}."
    return _Draft(" ".join(words), asked, initials, why, " ".join(words))


def _lookup(rng: random.Random) -> _Draft:
    people, trades = rng.sample(_NAMES, 3), rng.sample(sorted(_TRADES), 3)
    context = " ".join(f"{name} {trade}." for name, trade in zip(people, trades, strict=True))
    name, trade = rng.choice(list(zip(people, trades, strict=True)))
    if rng.random() < 0.5:
        return _Draft(context, f"Who {trade}?", name, f"The text says that {name} {trade}.", context)
    return _Draft(
        context, f"What does {name} do for a living?", _TRADES[trade], f"The text says that {name} {trade}.", context
    )


_WRITERS: dict[str, Callable[[random.Random], _Draft]] = {
    "arithmetic": _arithmetic,
    "conversion": _conversion,
    "sorting": _sorting,
    "extraction": _extraction,
    "classification": _classification,
    "dates": _dates,
    "spelling": _spelling,
    "lookup": _lookup,
}
CATEGORIES = tuple(_WRITERS)


def _is_held_out(category: str, about: str) -> bool:
    return hashlib.sha256(f"{category}/{about}".encode()).digest()[0] % _HELD_OUT_ONE_IN == 0


def generate(category: str, count: int, seed: int, *, held_out: bool = False) -> list[Record]:
    """``count`` records of ``category``, no two about the same thing; the same for the same arguments.

    Those with ``held_out`` never ask what one without it asks, under any seed.

    Raises:
        ValueError: the category is none of ``CATEGORIES``, or has no ``count`` different records.
    """
    if category not in _WRITERS:
        raise ValueError(f"no category {category!r}: there are {', '.join(CATEGORIES)}")
    rng = random.Random(f"{category}/{seed}/{held_out}")
    found: dict[str, Record] = {}
    for _ in range(_DRAWS_PER_RECORD * count):
        if len(found) == count:
            break
        draft = _WRITERS[category](rng)
        if _is_held_out(category, draft.about) is held_out:
            response = f"{_MARK} {draft.answer}\nWhy: {draft.why}"
            record = Record(instruction=draft.instruction, context=draft.context, response=response, category=category)
            found.setdefault(draft.about, record)
    if len(found) < count:
        raise ValueError(f"{category} has only {len(found)} different records, not {count}")
    return list(found.values())


def check(record: Record, text: str) -> bool:
    """Whether ``text``, what a model wrote, gives the answer of a record made by ``generate``.

    After an ``Answer:`` nothing else may stand on its line. A model that does not know the house style may give the
    answer anywhere in its first line, if it names no other class beside it; letter case and punctuation never count.
    """
    answer = _answer_words(record["response"].partition(_MARK)[2])
    _, marked, rest = text.partition(_MARK)
    said = _answer_words(rest if marked else text)
    if marked:
        return said == answer
    if record["category"] == "classification" and set(said) & set(_CLASSES) != set(answer):
        return False
    return any(said[i : i + len(answer)] == answer for i in range(len(said)))


def _answer_words(text: str) -> list[str]:
    first_line = text.strip().partition("\n")[0].lower()
    return re.findall(r"\w+", re.sub(r"(?<=\d),(?=\d{3}\b)", "", first_line))
