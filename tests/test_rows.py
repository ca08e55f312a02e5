"""Which columns name and hold the pictures, and what their values mean."""

import base64
import hashlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image

from alphabeam.transforms.inline import decode_inline
from alphabeam.transforms.rows import (
    IMAGE_COLUMNS,
    Columns,
    derive_key,
    find_columns,
    record_from_row,
    record_of_file,
)

BOTH = Columns("image", "key")


def record(image, base="/data/set", **others):
    return record_from_row({"image": image, **others}, BOTH, base, 3, "m.csv row 4")


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "cat.jpg"
    Image.fromarray(photograph("chelsea")[:64, :64]).save(path)
    return path.read_bytes()


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


class TestColumns:
    @pytest.mark.parametrize("name", IMAGE_COLUMNS)
    def test_every_conventional_name_is_found(self, name):
        assert find_columns(["label", name, "id"]) == Columns(name, "id")

    def test_the_first_convention_wins_whatever_the_columns_order(self):
        assert find_columns(["path", "url", "image", "id", "key"]) == Columns("image", "key")

    def test_case_does_not_matter_but_an_exact_name_comes_first(self):
        assert find_columns(["URL", "Id"]) == Columns("URL", "Id")
        assert find_columns(["Image", "image"]).image == "image"

    def test_named_columns_are_taken(self):
        assert find_columns(["a", "b", "image"], "a", "b") == Columns("a", "b")

    def test_no_key_column_is_fine(self):
        assert find_columns(["image"]).key is None

    @pytest.mark.parametrize(
        ("names", "given", "told"),
        [
            (["imge", "label"], {}, 'among imge, label (the nearest is "imge")'),
            (["picture", "x"], {"image_column": "pictures"}, 'did you mean "picture"?'),
            (["image", "sku"], {"key_column": "skv"}, 'did you mean "sku"?'),
            (["image", "zzz"], {"key_column": "name"}, 'no key column "name" among image, zzz'),
            ([], {}, "no image column"),
        ],
    )
    def test_errors_name_the_columns_there_are_and_the_nearest(self, names, given, told):
        with pytest.raises(ValueError, match="column") as caught:
            find_columns(names, **given)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_other_columns_go_out_and_a_key_column_unless_it_is_called_key(self):
        assert not BOTH.carries("image")
        assert not BOTH.carries("key")
        assert Columns("image", "id").carries("id")
        assert Columns("image", "id").carries("key")
        assert record("a.jpg", key="k", label=3).columns == {"label": 3}


class TestSources:
    @pytest.mark.parametrize(
        ("base", "value", "source"),
        [
            ("/data/set", "a/b.jpg", "/data/set/a/b.jpg"),
            ("/data/set", "./a.jpg", "/data/set/a.jpg"),
            ("/data/set", "../a.jpg", "/data/set/../a.jpg"),
            ("/", "a.jpg", "/a.jpg"),
            ("/data/set", "/elsewhere/a.jpg", "/elsewhere/a.jpg"),
            ("/data/set", "file:///x/a.jpg", "file:///x/a.jpg"),
            ("/data/set", "s3://b/a.jpg", "s3://b/a.jpg"),
            ("/data/set", "zip://a.jpg::gs://b/x.zip", "zip://a.jpg::gs://b/x.zip"),
            ("/data/set", "  a.jpg\n", "/data/set/a.jpg"),
            ("gs://bucket/set", "a.jpg", "gs://bucket/set/a.jpg"),
            ("gs://bucket/set", "../img/./a.jpg", "gs://bucket/img/a.jpg"),
            ("gs://bucket/set", "../../../a.jpg", "gs://bucket/a.jpg"),
            ("memory:///set", "a.jpg", "memory:///set/a.jpg"),
            ("memory:///set", "../a.jpg", "memory:///a.jpg"),
            ("https://host/set", "a.jpg", "https://host/set/a.jpg"),
            ("https://host/set", "../../a.jpg", "https://host/a.jpg"),
            ("https://host/set", "http://other/a.jpg", "http://other/a.jpg"),
            ("https://host/set", "http://[2001:db8::1]/a.jpg", "http://[2001:db8::1]/a.jpg"),
            ("https://host/set", "gs://bucket/a.jpg", "gs://bucket/a.jpg"),
            ("", "a.jpg", "a.jpg"),
        ],
    )
    def test_relative_paths_resolve_and_others_stay(self, base, value, source):
        found = record(value, base)
        assert found.trouble is None
        assert found.source == found.source_uri == source

    def test_paths_as_objects_are_taken(self):
        assert record(PurePosixPath("a/b.jpg")).source == "/data/set/a/b.jpg"

    @pytest.mark.parametrize(
        "wrap", [bytes, bytearray, memoryview, lambda data: {"bytes": data, "path": None}]
    )
    def test_bytes_are_the_picture(self, jpeg, wrap):
        found = record(wrap(jpeg))
        assert found.source == jpeg
        assert found.source_uri == f"inline:sha256:{digest(jpeg)}"
        assert found.key == digest(jpeg)

    def test_a_struct_gives_its_bytes_first_and_is_called_by_its_path(self, jpeg):
        found = record({"bytes": jpeg, "path": "cats/cat.jpg"})
        assert (found.source, found.source_uri) == (jpeg, "cats/cat.jpg")
        assert found.key == digest(jpeg)

    def test_a_struct_without_bytes_gives_its_path(self):
        assert record({"bytes": None, "path": "cat.jpg"}).source == "/data/set/cat.jpg"
        assert record({"bytes": b"", "path": "cat.jpg"}).source == "/data/set/cat.jpg"

    @pytest.mark.parametrize("prefix", ["data:image/jpeg;base64,", "DATA:;base64,", ""])
    @pytest.mark.parametrize("struct", [False, True])
    def test_pictures_in_text_are_no_paths(self, jpeg, prefix, struct):
        text = prefix + base64.b64encode(jpeg).decode()
        found = record({"bytes": text} if struct else text)
        assert decode_inline(found.source, 10**6) == jpeg
        assert found.source_uri == f"inline:sha256:{digest(text.encode())}"
        assert found.key == digest(text.encode())

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (None, "no picture is given"),
            ("", "no picture is given"),
            ("  ", "no picture is given"),
            (b"", "no picture is given"),
            ({"bytes": None, "path": None}, "no picture is given"),
            ({"bytes": "cat.jpg", "path": None}, "neither bytes nor a picture in base64"),
            ({"width": 3}, "a struct of width holds neither bytes nor path"),
            (3.5, "float is neither"),
            (["a.jpg"], "list is neither"),
            ("x" * 5000, "5,000 characters that are neither"),
        ],
    )
    def test_a_row_without_a_usable_picture_has_trouble(self, value, told):
        found = record(value)
        assert found.source is None
        assert found.trouble is not None
        assert (found.trouble.kind, found.trouble.stage) == ("no_image", "manifest")
        assert found.trouble.message.startswith("m.csv row 4: ")
        assert told in found.trouble.message
        assert found.key == "m.csv row 4"
        assert found.row == 3


class TestManifestsFromTheWeb:
    @pytest.mark.parametrize(
        "value",
        [
            "/etc/passwd",
            "//etc/passwd",
            " /etc/passwd",
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "file:/etc/passwd",
            "local:///etc/passwd",
            "git:///repo:file",
            "simplecache::file:///etc/passwd",
            "zip://a::/tmp/x.zip",
            "gs://b/x::file:///etc/passwd",
            "http::file:///etc/passwd",
            {"bytes": None, "path": "/etc/passwd"},
        ],
    )
    @pytest.mark.parametrize("base", ["https://host/set", "HTTP://host", "simplecache::http://h/x"])
    def test_they_cannot_name_local_files(self, base, value):
        found = record(value, base)
        assert found.source is None
        assert found.trouble is not None
        assert found.trouble.kind == "local_path_refused"

    @given(st.text(max_size=60))
    @settings(deadline=None, max_examples=100)
    def test_whatever_they_name_lies_on_a_network(self, text):
        source = record(text, "https://host/set").source
        assert source is None or source.lower().startswith(
            ("http://", "https://", "gs://", "s3://", "az://", "hf://", "data:")
        )

    def test_manifests_from_elsewhere_can(self):
        assert record("/pictures/a.jpg", "gs://bucket/set").source == "/pictures/a.jpg"


class TestKeys:
    @pytest.mark.parametrize(
        ("value", "key"),
        [
            ("k1", "k1"),
            (7, "7"),
            (b"k\xc3\xa4", "kä"),
            (True, "True"),
            (1.5, "1.5"),
            (" a ", " a "),
        ],
    )
    def test_the_key_column_is_taken_as_text(self, value, key):
        assert record("a.jpg", key=value).key == key

    @pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
    def test_an_empty_key_is_derived(self, value):
        assert record("a/b.jpg", key=value).key == "a_b"

    @pytest.mark.parametrize(
        ("uri", "base", "key"),
        [
            ("/data/set/a/b.c.jpg", "/data/set", "a_b.c"),
            ("/a.jpg", "/", "a"),
            ("gs://b/set/x/y.png", "gs://b/set", "x_y"),
            ("https://h/s/x%20y/z.png", "https://h/s", "x y_z"),
        ],
    )
    def test_pictures_under_the_base_are_called_by_their_path(self, uri, base, key):
        assert derive_key(uri, base) == key

    @pytest.mark.parametrize(
        ("uri", "stem"),
        [
            ("https://cdn/p/shoe.jpg?size=2&sig=a/b", "shoe-"),
            ("https://h/s/a.jpg?v=1", "a-"),
            ("/elsewhere/shoe.jpg", "shoe-"),
            ("/data/settled/shoe.jpg", "shoe-"),
            ("https://cdn/", ""),
        ],
    )
    def test_others_get_eight_digits_of_their_address(self, uri, stem):
        base = "https://h/s" if uri.startswith("https://h/") else "/data/set"
        assert derive_key(uri, base) == stem + hashlib.sha256(uri.encode()).hexdigest()[:8]

    def test_what_no_file_can_hold_is_replaced(self):
        found = record("a\ud800.jpg", key="k\udcff")
        assert (found.key, found.source) == ("k?", "/data/set/a?.jpg")

    def test_listed_files_keep_the_path_that_opens_them(self):
        found = record_of_file("/data/set/data:\udcff.jpg", "/data/set", 5)
        assert found.source == "/data/set/data:\udcff.jpg"
        assert found.source_uri == "/data/set/data:?.jpg"
        assert (found.key, found.row) == ("data:?", 5)
