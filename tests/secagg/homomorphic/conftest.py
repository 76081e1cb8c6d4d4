import pytest

pytest.importorskip("tenseal")
