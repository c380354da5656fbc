r"""What PyTorch libraries call the layers of a model family, and what we call them: a file each.

RULES in each: (regular expression of the other's module name, our module path), the first whole
match counts that names an array of the model; `\1` in a path is the first group of the match.
"""
