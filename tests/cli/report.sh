# `report`: a page of what runs have left, whole or torn, friendly or not; and nothing half-written where there is none.
. "$TESTS/cli/lib.sh"

write_data
write_config first 12 6 >first.yaml
write_config second 9 3 | sed 's/^  learning_rate:.*/  learning_rate: 1e-3/' >second.yaml
expect 0 "$QLORA_TRAIN" first.yaml training.eval_steps=4 data.eval="$PWD/train.jsonl"
expect 0 "$QLORA_TRAIN" second.yaml training.learning_rate=1e-3

page() { # FILE MUST-HAVE...
    local file=$1
    shift
    for what; do grep -qF -- "$what" "$file" || fail "$file lacks $what"; done
    [ "$(tail -n 1 "$file")" = "</html>" ] || fail "$file has no end"
    ! grep -qiE '<script|<link|<img|src=|href=|https?:|@import|url\(' "$file" || fail "$file needs something else"
    python3 - "$file" <<'END' || fail "$file is not well-formed"
import sys
from html.parser import HTMLParser
class Check(HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "tr", "th", "td"): self.open.append(tag)
    def handle_startendtag(self, tag, attrs): pass
    def handle_endtag(self, tag):
        if tag not in ("tr", "th", "td"): assert self.open.pop() == tag, tag
c = Check()
c.feed(open(sys.argv[1], encoding="utf-8").read())
assert not c.open, c.open
END
}

expect 0 "$QLORA_TRAIN" report first
! grep -qF "Answers" first/report.html || fail "answers of a run that has none"
page first/report.html "<figcaption>Loss</figcaption>" "<figcaption>Evaluation loss</figcaption>" "Learning rate" "Configuration" \
    "<code>training.max_steps</code></td><td><code><b>12</b>" "<code>lora.use_rslora</code></td><td><code>false<" "Starts"
last=$(grep '"loss"' first/metrics.jsonl | tail -n 1 | sed -E 's/.*"loss": ([0-9.]+).*/\1/')
grep -qF "<td class=\"n\">$(printf %.4f "$last")</td>" first/report.html || fail "the last loss $last is not in the table"
[ -z "$(find first -name '*.part-*')" ] || fail "a temporary file stays"

# Several: laid over each other, with what differs and nothing else.
expect 0 "$QLORA_TRAIN" report first second --html both.html
page both.html "2 runs compared" "training.learning_rate" "training.max_steps" "var(--c1)"
! grep -qF "<code>training.seed</code>" both.html || fail "a key that both share is among the differences"

# Of one name, they go by their paths.
mkdir a b
cp -r first a/out
cp -r second b/out
expect 0 "$QLORA_TRAIN" report a/out b/out --html alike.html
page alike.html "a/out" "b/out"

# A row has the tokens of its own step: where not every step is logged, their number is an estimate and says so.
mkdir sparse whole later
for step in 2 4 6; do echo "{\"step\": $step, \"loss\": 1, \"tokens\": ${step}00}"; done >sparse/metrics.jsonl
for step in 1 2 3; do echo "{\"step\": $step, \"loss\": 1, \"tokens\": ${step}00}"; done >whole/metrics.jsonl
for step in 12 14; do echo "{\"step\": $step, \"loss\": 1, \"tokens\": 1000}"; done >later/metrics.jsonl
echo '{"step": 10, "total_steps": 14}' >later/starts.jsonl
expect 0 "$QLORA_TRAIN" report sparse whole later --html tokens.html
page tokens.html '<td class="n">about 2400</td>' '<td class="n">600</td>' '<td class="n">about 4000</td>'

# What is torn or no row is counted, what wants to be HTML is text, and a run that goes on can be shown.
cp -r first hostile
printf '%s\n' 'no json' '[1]' '{"step": -3, "loss": 1}' '{"step": 13, "loss": null}' \
    '{"step": 14, "loss": 0.25}' >>hostile/metrics.jsonl
head -c 200000 /dev/zero | tr '\0' x >>hostile/metrics.jsonl
printf '\n{"step": 14,\0 "loss": 1}\n{"step": 15, "loss": 0.125}\n{"step": 16, "loss": 0.1' >>hostile/metrics.jsonl
printf '{"time": "<script>alert(1)</script>", "step": 1e999, "machine": {"host": "\\" onload=\\"x&\\u0007"}, "config": "%s"}\n' \
    'lora: {r: 7}\n' >>hostile/starts.jsonl
expect 0 "$QLORA_TRAIN" report hostile
page hostile/report.html "1 logged steps without a finite loss" "7 lines of its logs cannot be read" "0.1250"
# Answers to prompts: some of many evaluations, the beginning of long texts, not too many prompts, and nothing but text.
cp -r first asked
python3 - >asked/samples.jsonl <<'END'
import json
prompts = ["<b>bold</b> & \"so\"?", "lines\n\tof it", "long " + "é" * 500] + [f"prompt {i}" for i in range(40)]
for step in range(1, 201):
    for i, prompt in enumerate(prompts):
        text = "<script>alert(1)</script>" if i == 0 else "ö" * 5000 + "TAIL" if i == 2 else f"answer {i} of step {step}"
        print(json.dumps({"step": step, "prompt": prompt, "completion": text}, ensure_ascii=False))
print('{"step": -1, "prompt": "p", "completion": "c"}\n{"step": 200, "prompt": 7, "completion": "c"}\nno json')
print('{"step": 201, "prompt": "torn')
END
expect 0 "$QLORA_TRAIN" report asked
page asked/report.html "<h2>Answers</h2>" "Those of 6 of 200 evaluations" "<th>prompt<th>step 1<th>step 40<th>step 80<th>step 120" \
    "<th>step 200" "&lt;b&gt;bold&lt;/b&gt; &amp; &quot;so&quot;?" "&lt;script&gt;alert(1)&lt;/script&gt;" "<td>answer 1 of step 1</td>" \
    "<td>answer 1 of step 200</td>" "<td>prompt 20</td>" " …</td>" "4 lines of its logs cannot be read" \
    "114 answers to further prompts are not shown"
for what in "prompt 21<" TAIL "step 100" torn; do
    ! grep -qF "$what" asked/report.html || fail "the page has $what"
done
[ "$(stat -c %s asked/report.html)" -lt $(($(stat -c %s first/report.html) + 60000)) ] || fail "a page as long as the run"
expect 0 "$QLORA_TRAIN" report first asked --html both.html
page both.html "<h2>Answers of asked</h2>"
! grep -qF "Answers of first" both.html || fail "answers of a run that has none"
printf 'no json\n' >asked/samples.jsonl
expect 0 "$QLORA_TRAIN" report asked
! grep -qF "Answers" asked/report.html || fail "answers in a file without rows"
# Values and steps as large and small as numbers get.
cp -r first extreme
printf '%s\n' '{"step": 13, "loss": 1e308, "grad_norm": 1e-320, "tokens_per_second": -1e308, "peak_device_bytes": 1e300}' \
    '{"step": 900000000000000, "loss": -1e308, "grad_norm": 2e-320, "learning_rate": 1e17, "paged_bytes": 1e-9, "tokens": 1e308}' \
    '{"step": 999999999999999, "eval_loss": 5e-324, "learning_rate": 100000000000000016, "elapsed_seconds": 1e308}' >>extreme/metrics.jsonl
expect 0 "$QLORA_TRAIN" report extreme
page extreme/report.html "999999999999999"
mv hostile '<b>"it"&'
expect 0 "$QLORA_TRAIN" report '<b>"it"&' --html odd.html
page odd.html '&lt;b&gt;&quot;it&quot;&amp;'
printf '' >second/metrics.jsonl
expect 0 "$QLORA_TRAIN" report second
page second/report.html "Curves"

expect 2 "$QLORA_TRAIN" report
expect 2 "$QLORA_TRAIN" report nowhere --html none.html
grep -q "nowhere: there is no metrics.jsonl; expected the output_dir of a training" err.txt || { cat err.txt; fail "the message"; }
expect 2 "$QLORA_TRAIN" report first nowhere --html none.html
[ ! -e none.html ] || fail "a page of what could not be read"
expect 1 "$QLORA_TRAIN" report first --html no/such/dir.html
mkdir directory
expect 1 "$QLORA_TRAIN" report first --html directory
[ "$(find . -name '*.part-*')" = "" ] || fail "a page that could not get its name stays under another"
