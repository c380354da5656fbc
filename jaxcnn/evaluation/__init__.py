"""How good a trained model is, where it fails, what it looks at; and two models side by side."""
