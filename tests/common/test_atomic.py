import pytest

from comdefend.common.atomic import atomic_file, atomic_write, make_folder
from comdefend.errors import OutputError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    atomic_write(path, b"first")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.writelines([b"sec", "ond"])
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_of_the_block_is_not_the_file_systems(tmp_path):
    with pytest.raises(OSError, match="mine") as caught, atomic_file(tmp_path / "file"):
        raise OSError("mine")
    assert not isinstance(caught.value, OutputError)


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out: cannot be made"):
        make_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        atomic_write(tmp_path, b"a folder is there")
