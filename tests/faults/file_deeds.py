"""What is done to pictures and to their folder."""

from __future__ import annotations

from tests.faults.case import Deed
from tests.faults.city import City
from tests.pictures import draw


def mark_picture(word: str) -> Deed:
    """A picture that is good for everybody but the faults of the case, which look for the word."""

    def append(city: City) -> None:
        with city.chance.choice(city.pictures).open("ab") as file:
            file.write(word.encode())

    return append


def spoil_files(city: City) -> None:
    """Between enqueueing and reading: replaced, cut short, deleted, and what cannot be read."""
    replaced, short, gone, folder = city.chance.sample(city.pictures, 4)
    draw(replaced, 777)
    short.write_bytes(short.read_bytes()[:100])
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    city.pictures = [file for file in city.pictures if file not in (gone, folder)]


def forbid(number: int) -> Deed:
    """Nobody may read that picture. Root may all the same, so the case adds a fault that is what the kernel says."""
    return lambda city: city.pictures[number].chmod(0)


def rename_folder(city: City) -> None:
    """The pictures of a folder are moved to another name, which nobody indexed."""
    new = city.root / "renamed"
    new.mkdir()
    for file in city.pictures[:10]:
        file.rename(new / file.name)


def take_root_away(city: City) -> None:
    city.root.rename(city.folder / "elsewhere")


def bring_root_back(city: City) -> None:
    home = city.folder / "pictures"
    if home.exists():
        home.rmdir()
    (city.folder / "elsewhere").rename(home)
    city.mark()


def empty_root(city: City) -> None:
    """As a folder looks when its disk is not mounted."""
    take_root_away(city)
    (city.folder / "pictures").mkdir()
