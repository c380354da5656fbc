"""The models that are compared with PyTorch twins, of all families."""

from tests.core.models import cases, convnext_cases, mobile_cases

CASES = (*cases.CASES, *convnext_cases.CASES, *mobile_cases.CASES)
