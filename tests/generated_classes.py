"""Generated programs about a class with some of Python's special methods; see generated_programs.py."""

import random

from generated_values import Subject, many, small

METHODS = {
    "__len__": ("return len(self.items) + K", ["? len(o)", "? bool(o)"]),
    "__iter__": (
        "return iter(self.items)",
        ["? list(o)", "? [x for x in o]", "? sorted(o, key=str)", "? 1 in o", "? sum(1 for _ in o)", "? max(o)"],
    ),
    "__getitem__": ("return self.items[i + K * 0]", ["? o[0]", "? o[-1]", "? o[9]", "? o[1:]", "? list(o)"]),
    "__setitem__": ("self.items[i] = x", ["o[0] = 5", "? o.items"]),
    "__delitem__": ("del self.items[i]", ["del o[0]", "? o.items"]),
    "__call__": ("return [*a, K, *k.items()]", ["? o(1)", "? o(1, self_=2)"]),
    "__str__": ("return f'<{self.name}>'", ["? str(o)", "? f'{o}'", "? '%s' % o"]),
    "__repr__": ("return 'Box(%r, K)' % self.items", ["? repr(o)", "? str([o])", "? f'{o!r}'"]),
    "__bool__": ("return len(self.items) > K", ["? bool(o)", "? not o", "? 1 if o else 2"]),
    "__neg__": ("return [-K, *self.items]", ["? -o"]),
    "__enter__": (
        "self.name += '('\n        return self",
        ["with o as inside:\n    inside.items.append(1)", "? o.name"],
    ),
    "__contains__": ("return x in self.items or x == K", []),
    "__reversed__": ("return reversed(self.items)", ["? list(reversed(o))"]),
    "__int__": ("return K", ["? int(o)"]),
    "__float__": ("return K / 2", ["? float(o)"]),
    "__format__": ("return 'K' + i", ["? f'{o:x}'", "? format(o, 'y')"]),
    "__getattr__": (
        "if i != 'late': raise AttributeError(i)\n        return K",
        ["? o.late", "? hasattr(o, 'later')"],
    ),
    "__hash__": ("return K", ["? hash(o)", "? {o: 1}[o]"]),
}
PARAMETERS = {
    "__getitem__": ", i",
    "__setitem__": ", i, x",
    "__delitem__": ", i",
    "__call__": ", *a, **k",
    "__contains__": ", x",
    "__format__": ", i",
    "__getattr__": ", i",
}
BEGINNING = """class Base:
    made = 0
    def hello(self, who='you'): return f'{type(self).__name__} {who}'
class Box(Base):
    LIMIT = S
    def __init__(self, *items, name='box'):
        self.items, self.name = list(items), name
        Base.made += 1
    def add(self, x):
        self.items.append(x)
        return self
    @property
    def last(self): return self.items[-1]
    @last.setter
    def last(self, x): self.items[-1] = x
    @classmethod
    def of(cls, xs): return cls(*xs, name='of')
    @staticmethod
    def double(x): return x * 2 + S
    def hello(self, who='me'): return super().hello(who) + '!'
    def __exit__(self, *error): self.name += ')'
"""
OF_A_BOX = """? o.add(4).add(5).items
? o.add(1) is o
? o.last
o.last = 8
? o.items
? Box.of('ab').name
? Box.double(4)
? o.hello()
? o.hello(who='x')
? isinstance(o, Base)
? issubclass(Box, Base)
? Box.LIMIT
? o.LIMIT
? Base.made > 0
o.extra = [1]
? o.name
? hasattr(o, 'extra')
? type(o) is Box
? vars(o)['name']
? o.items is o.items
? o is o
? o == o
? o != Box()
? getattr(o, 'name', 1)
? o.missing
? callable(o.add)
? Box().items
? o in [o]
? len({o, Box(1)})
? [b.name for b in map(Box, [1, 2])]
? Box(1, nam=2)
? sorted([Box(2), Box(1)], key=lambda b: b.items)[0].items
? list(map(Box.hello, [o, Box(name='n')]))
for b in [Box(7), o]: b.add(0)
? [*Box(5).add(6).items, *o.items]
first, *rest = Box(1, 2, 3).items
? o.__class__.__name__""".splitlines()


def classes(rng: random.Random) -> Subject:
    """A class with up to five special methods, each of which is used, and the usual rest."""
    code, script = BEGINNING.replace("S", small(rng), 1).replace("S", small(rng)), []
    for name in rng.sample(sorted(METHODS), rng.randint(2, 5)):
        body, steps = METHODS[name]
        code += (
            f"    def {name}(self{PARAMETERS.get(name, '')}):\n        {body.replace('K', str(rng.randint(0, 3)))}\n"
        )
        script += rng.sample(steps, min(2, len(steps)))
    script += rng.sample(OF_A_BOX, rng.randint(3, 7))
    rng.shuffle(script)
    return code, "Box", [f"o = Box({', '.join(many(rng, small, 2))})", *script]
