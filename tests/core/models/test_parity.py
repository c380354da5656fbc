"""Every kind of model computes what the same network computes in PyTorch."""

import pytest

from tests.core.models import cases, convnext_cases
from tests.core.models.parity import check_against_references, check_against_twin

# `test_mobile.py` has those of MobileNets and EfficientNets.
CASES = (*cases.CASES, *convnext_cases.CASES)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_outputs_gradients_and_statistics_are_those_pytorch_gave(case):
    check_against_references(case)


@every_case
def test_outputs_gradients_and_statistics_are_those_of_a_twin_in_pytorch(case):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra `parity`)")
    check_against_twin(case)
