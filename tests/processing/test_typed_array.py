import numpy as np
import pytest

from processing.typed_array import type_of_tag

TABLE = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip


@pytest.mark.parametrize("tag", TABLE)
def test_the_type_of_a_tag_is_that_of_rfc_8746(tag):
    name, order = type_of_tag(tag)
    assert np.dtype(name).newbyteorder(order) == np.dtype(TABLE[tag])


@pytest.mark.parametrize("tag", [0, 40, 63, 76, 88, 56500])
def test_another_tag_is_none(tag):
    with pytest.raises(ValueError, match="RFC 8746"):
        type_of_tag(tag)
