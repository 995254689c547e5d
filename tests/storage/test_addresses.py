"""Which addresses are taken, and that none with a secret is, or is repeated."""

import pytest

from synthdiv.errors import UserError
from synthdiv.files import check_dir
from synthdiv.storage import check_output, is_remote, parse
from synthdiv.storage.addresses import Address
from synthdiv.storage.stores import store, words


def test_an_address_is_its_scheme_bucket_and_key() -> None:
    assert parse("S3://bucket/a/b/") == Address("s3", "bucket/a/b")
    assert str(parse("gs://bucket/a b").parent / "c") == "gs://bucket/c"
    assert not is_remote("https://host/x") and not is_remote("dir/x") and not is_remote(None)


@pytest.mark.parametrize(
    "given",
    [
        "s3://AKIAKEY:hunter22@bucket/x",
        "s3://hunter22@bucket/x",
        "gs://bucket/x?X-Goog-Signature=hunter22",
        "s3://bucket/x#hunter22",
    ],
)
def test_an_address_with_a_secret_is_refused_unseen(given: str) -> None:
    with pytest.raises(UserError, match="come from the environment") as refused:
        parse(given)
    assert "hunter22" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("given", ["s3://", "s3://bucket//x", "s3://bucket/../x", "s3://b/x\ny"])
def test_what_names_nothing_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        parse(given)


def test_where_nothing_can_be_written_is_said_before_work() -> None:
    with pytest.raises(UserError, match="only read"):
        check_output("hf://datasets/me/mine")
    with pytest.raises(UserError, match="name a directory in it"):
        check_output("s3://bucket")
    with pytest.raises(UserError, match="storage.workspace"):
        check_dir("s3://bucket/run")


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from synthdiv.storage import stores

    stores._store.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError) as refused:
        store(Address("gs", "bucket/x"))
    assert str(refused.value) == "gs:// needs gcsfs: pip install 'synthdiv[gcs]'"


def test_errors_are_told_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    error = OSError(
        "no verysecret at http://user:pass@host/b?X-Amz-Credential=AK&X-Amz-Signature=ff\nmore"
    )
    assert words(error) == "no *** at http://***@host/b?***"
