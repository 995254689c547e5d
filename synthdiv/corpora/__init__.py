"""Reading corpora: any file format, table, hub or TFDS data set becomes a stream of documents."""

from synthdiv.corpora.corpus import Corpus, Document
from synthdiv.corpora.names import check_names, corpus_name, split_paths

__all__ = ["Corpus", "Document", "check_names", "corpus_name", "split_paths"]
