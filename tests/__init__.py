"""The tests: the folders are those of the package; C{project}, C{live}, C{support} and C{data} are of their own."""
