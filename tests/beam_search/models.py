"""The language model that the tests of this folder share."""

WORDS_ARPA = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\tA\t-0.2
-0.8\tAB\t-0.1
-1.1\tBBA\t-0.4

\\2-grams:
-0.2\t<s> AB
-0.6\tAB A
-0.3\tA </s>
-0.9\tA A
-0.4\tBBA AB

\\end\\
"""
