"""rules.model: a SentencePiece model with a small table of normalisation, a -> b, ac -> bb, xyz -> nothing.

python3 gen_rules.py (with sentencepiece 0.2.3)."""
import pathlib
import tempfile

import sentencepiece

HERE = pathlib.Path(__file__).parent

with tempfile.TemporaryDirectory() as tmp:
    text, rules = pathlib.Path(tmp, "text.txt"), pathlib.Path(tmp, "rules.tsv")
    text.write_text("\n".join(f"hello world this is a test number {i} of the trainer ﬁ Ｈ" for i in range(300)))
    rules.write_text("61\t62\n61 63\t62 62\n78 79 7A\t\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(pathlib.Path(tmp, "rules")), vocab_size=40, model_type="bpe",
        normalization_rule_tsv=str(rules), hard_vocab_limit=False, minloglevel=2)
    (HERE / "rules.model").write_bytes(pathlib.Path(tmp, "rules.model").read_bytes())
