"""What XLA:CPU calls in C++, because its own way is slower: the source, its build, its use."""
