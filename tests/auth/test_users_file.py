"""The users file: what it may hold, when it is read again, and how it is changed."""

from __future__ import annotations

import os
import stat
import threading
import unicodedata
from pathlib import Path

import pytest

from wshttp.auth import users_file as module
from wshttp.auth.passwords import DEFAULT_COST, hash_password
from wshttp.auth.users_file import SETTLED_AFTER, UsersFile, delete_user, write_user
from wshttp.errors import UsageError
from wshttp.testing import FakeClock

pytestmark = pytest.mark.feature("U2")

ONE, TWO = hash_password("one", 4), hash_password("two", 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def test_users_are_read_with_comments_and_blank_lines(path: Path) -> None:
    """Users, a byte order mark, Windows line ends, comments and blank lines are understood."""
    path.write_bytes(f"\ufeff# staff\r\nbob:{ONE}\r\n\r\n  \nZoë:{TWO} \n#eve:{TWO}".encode())
    users = UsersFile(path)
    assert users.load().mistakes == ()
    assert set(users.users) == {"bob", "Zoë"}
    assert users.highest_cost == 5
    bob = users.find("bob")
    assert bob is not None
    assert (bob.password_hash, bob.cost) == (ONE, 4)
    assert ONE not in bob.version
    assert bob.version != users.users["Zoë"].version
    assert users.find("eve") is None


def test_names_are_one_in_any_spelling(path: Path) -> None:
    """A name in decomposed letters is found in composed ones, and doubled with it."""
    path.write_text(f"{unicodedata.normalize('NFD', 'Zoë')}:{ONE}\n")
    users = UsersFile(path)
    users.load()
    assert users.find("Zoë") is not None
    path.write_text(f"{unicodedata.normalize('NFD', 'Zoë')}:{ONE}\nZoë:{TWO}\n")
    assert "line 1 already" in users.load().mistakes[0]


def test_every_line_that_cannot_be_used_is_reported(path: Path) -> None:
    """Each mistake has its line and its reason, all at once, and no message holds what may be a password."""
    lines = [
        f"good:{ONE}".encode(),
        b"a:$apr1$c0ffee$hunter2",
        b"b:{SHA}hunter2",
        b"c:$6$salt$hunter2",
        b"d:hunter2",
        b"hunter2",
        f":{ONE}".encode(),
        f"e\x07:{ONE}".encode(),
        b"f\xff:hunter2",
        f"g:$2y$17${ONE[7:]}".encode(),
        f"h:$2y$03${ONE[7:]}".encode(),
        f"good:{TWO}".encode(),
        f"i:{ONE[:-1]}".encode(),
        f"j:{ONE}:extra".encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    users = UsersFile(path)
    mistakes = users.load().mistakes
    assert [mistake.split(":")[1] for mistake in mistakes] == [str(n) for n in range(2, 15)]
    assert all(mistake.startswith(f"{path}:") and "hunter2" not in mistake for mistake in mistakes)
    for number, says in [(2, "MD5"), (3, "SHA-1"), (6, "colon"), (9, "UTF-8"), (10, "17"), (11, "3"), (12, "line 1")]:
        assert says in mistakes[number - 2], mistakes[number - 2]
    assert users.users == {}


def test_file_that_does_not_exist_has_no_users(path: Path) -> None:
    """No file is no mistake, and is said."""
    users = UsersFile(path)
    reload = users.load()
    assert reload.mistakes == ()
    assert "does not exist" in str(reload.notice)
    assert users.users == {}
    assert users.highest_cost == DEFAULT_COST


@pytest.mark.parametrize("kind", ["folder", "pipe", "too large"])
async def test_file_that_is_none_is_reported(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is said, and nothing hangs or grows over it."""
    monkeypatch.setattr(module, "MAX_SIZE", 100)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("#" * 101)
    reload = await UsersFile(path).poll()
    assert reload is not None
    assert len(reload.mistakes) == 1


async def test_file_that_cannot_be_read_keeps_the_users(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is reported once, changes nothing, and is used again when it can be read."""
    write_user(path, "bob", ONE)
    users = UsersFile(path)
    users.load()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(module, "open", refuse, raising=False)
        reload = await users.poll()
        assert reload is not None
        assert reload.mistakes == (f"{path}: cannot be read: Permission denied",)
        assert reload.changed == frozenset()
        assert await users.poll() is None
    assert users.find("bob") is not None
    reload = await users.poll()
    assert reload is not None
    assert reload.mistakes == ()


async def test_poll_says_who_changed(path: Path) -> None:
    """Changed and removed users are named, new and untouched ones are not."""
    for user in ("keeps", "changes", "goes"):
        write_user(path, user, ONE)
    users = UsersFile(path)
    first = await users.poll()
    assert first is not None
    assert first.changed == frozenset()
    assert await users.poll() is None
    write_user(path, "changes", TWO)
    write_user(path, "comes", TWO)
    delete_user(path, "goes")
    reload = await users.poll()
    assert reload is not None
    assert reload.changed == {"changes", "goes"}
    assert set(users.users) == {"keeps", "changes", "comes"}
    assert await users.poll() is None


async def test_broken_file_keeps_the_old_users(path: Path) -> None:
    """A file that broke is reported by line, once, and who was in still gets in; mended, it is used."""
    write_user(path, "bob", ONE)
    users = UsersFile(path)
    users.load()
    path.write_text(f"bob:{TWO}\neve:plain\n")
    reload = await users.poll()
    assert reload is not None
    assert reload.changed == frozenset()
    assert [mistake.split(":")[1] for mistake in reload.mistakes] == ["2"]
    assert users.users["bob"].password_hash == ONE
    assert await users.poll() is None
    path.write_text(f"bob:{TWO}\n")
    reload = await users.poll()
    assert reload is not None
    assert (reload.changed, reload.mistakes) == ({"bob"}, ())


async def test_file_that_goes_takes_its_users_along(path: Path, clock: FakeClock) -> None:
    """Without the file nobody gets in, however long it was there."""
    write_user(path, "bob", ONE)
    users = UsersFile(path, clock)
    users.load()
    clock.advance(SETTLED_AFTER)
    await users.poll()
    path.unlink()
    reload = await users.poll()
    assert reload is not None
    assert reload.changed == {"bob"}
    assert "does not exist" in str(reload.notice)
    assert await users.poll() is None
    write_user(path, "eve", ONE)
    assert await users.poll() is not None
    assert set(users.users) == {"eve"}


async def test_settled_file_is_not_read_again(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read once more after its stamp has settled, then only looked at."""
    write_user(path, "bob", ONE)
    users = UsersFile(path, clock)
    reads = []
    monkeypatch.setattr(module, "_read", lambda path, read=module._read: (reads.append(path), read(path))[1])
    users.load()
    clock.advance(SETTLED_AFTER)
    for _ in range(5):
        await users.poll()
    assert len(reads) == 2


async def test_second_change_within_one_tick_is_noticed(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that leaves size, time and inode as they were is found, since a young stamp is not trusted."""
    monkeypatch.setattr(module, "_stamp", lambda status: (0, status.st_size, 0, 0))
    same_size = hash_password("other", 4)
    path.write_text(f"bob:{ONE}\n")
    users = UsersFile(path, clock)
    users.load()
    path.write_text(f"bob:{same_size}\n")
    clock.advance(1)
    reload = await users.poll()
    assert reload is not None
    assert reload.changed == {"bob"}


async def test_file_that_is_being_written_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes under the reader is not believed, and the users stay."""
    write_user(path, "bob", ONE)
    users = UsersFile(path)
    users.load()
    numbers = iter(range(100))
    with monkeypatch.context() as patched:
        patched.setattr(module, "_stamp", lambda status: (next(numbers), 0, 0, 0))
        reload = await users.poll()
    assert reload is not None
    assert "being written" in reload.mistakes[0]
    assert users.find("bob") is not None
    assert await users.poll() is not None


def test_write_makes_a_file_for_its_owner_alone(path: Path) -> None:
    """A new file is readable by nobody else, and holds the user."""
    assert write_user(path, "bob", ONE) is False
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"bob:{ONE}\n"
    assert os.listdir(path.parent) == ["users"]


def test_write_keeps_everything_else(path: Path) -> None:
    """Mode, comments, order and lines of others stay, broken ones too; a user's double line goes."""
    path.write_bytes(b"# staff\nalice:plain\nbob:old\n\xff\n\nbob:older\nzoe:x")
    path.chmod(0o640)
    assert write_user(path, "bob", ONE) is True
    assert path.read_bytes() == f"# staff\nalice:plain\nbob:{ONE}\n".encode() + b"\xff\n\nzoe:x\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_write_keeps_the_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes the file of the server's account leaves it to that account, or changes nothing."""
    given: list[tuple[int, int]] = []
    refused: list[PermissionError] = []

    class OfAnother:
        def __init__(self, status: os.stat_result) -> None:
            self.st_mode, self.st_uid, self.st_gid = status.st_mode, status.st_uid + 1, status.st_gid + 2

    def fchown(_: int, user: int, group: int) -> None:
        given.append((user, group))
        if refused:
            raise refused[0]

    path.write_text("")
    fstat = os.fstat

    def of_another_if_it_is_the_target(descriptor: int) -> object:
        status = fstat(descriptor)
        return OfAnother(status) if status.st_ino == path.stat().st_ino else status

    monkeypatch.setattr(module.os, "fstat", of_another_if_it_is_the_target)
    monkeypatch.setattr(module.os, "fchown", fchown)
    write_user(path, "bob", ONE)
    assert given == [(path.stat().st_uid + 1, path.stat().st_gid + 2)]
    refused.append(PermissionError(1, "Operation not permitted"))
    with pytest.raises(PermissionError):
        write_user(path, "bob", TWO)
    assert path.read_text() == f"bob:{ONE}\n"


def test_write_through_a_link_keeps_the_link(tmp_path: Path, path: Path) -> None:
    """A symbolic link stays one, and its target is what changes."""
    target = tmp_path / "elsewhere" / "real"
    target.parent.mkdir()
    path.symlink_to(target)
    write_user(path, "bob", ONE)
    assert path.is_symlink()
    assert target.read_text() == f"bob:{ONE}\n"


def test_delete_takes_one_user_out(path: Path) -> None:
    """The user's line goes, in whatever spelling; who is not there is not an error."""
    write_user(path, "bob", ONE)
    write_user(path, "Zoë", TWO)
    assert delete_user(path, unicodedata.normalize("NFD", "Zoë")) is True
    assert delete_user(path, "Zoë") is False
    assert path.read_text() == f"bob:{ONE}\n"


def test_delete_from_no_file_makes_none(path: Path) -> None:
    """Nothing is created where nothing was."""
    assert delete_user(path, "bob") is False
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "a\x7f", "#a", "\ud800"])
def test_write_refuses_a_name_that_breaks_the_file(path: Path, name: str) -> None:
    """A name that could not be read back, or would be another line, changes nothing."""
    with pytest.raises(UsageError, match="user name"):
        write_user(path, name, ONE)
    assert not path.exists()


@pytest.mark.parametrize(
    "password_hash", ["plain", ONE + "\neve:" + ONE, "$2b$17$" + ONE[7:]], ids=["plain", "two lines", "cost"]
)
def test_write_refuses_a_hash_that_breaks_the_file(path: Path, password_hash: str) -> None:
    """Nothing but a hash that will be accepted gets into the file."""
    with pytest.raises(UsageError, match="bcrypt"):
        write_user(path, "bob", password_hash)
    assert not path.exists()


def test_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk says no, the file is as it was and nothing lies beside it."""
    write_user(path, "bob", ONE)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_user(path, "bob", TWO)
    assert path.read_text() == f"bob:{ONE}\n"
    assert os.listdir(path.parent) == ["users"]


def test_reader_never_sees_a_half_written_file(path: Path) -> None:
    """While the file is written over and over, every reading is whole."""
    write_user(path, "last", ONE)
    write_user(path, "bob", ONE)
    done = threading.Event()

    def write() -> None:
        for password_hash in (ONE, TWO) * 25:
            write_user(path, "bob", password_hash)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    users = UsersFile(path)
    readings = 0
    while not done.is_set() or not readings:
        assert users.load().mistakes == ()
        assert set(users.users) == {"last", "bob"}
        readings += 1
    writer.join(20)


def test_writers_in_parallel_lose_nobody(path: Path) -> None:
    """Each of several writers finds its user in the end."""
    threads = [threading.Thread(target=write_user, args=(path, f"user{n}", ONE)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    users = UsersFile(path)
    users.load()
    assert set(users.users) == {f"user{n}" for n in range(12)}
