# A chat template of one's own in a run: where its file lies does not count, what it says does; the run shows its first
# row, and warns of what rows have that no template reads.
. "$TESTS/cli/lib.sh"

cp -r "$model" model && chmod -R u+w model
byte_tokenizer model
echo '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false}' \
    >model/tokenizer_config.json
cat >own.jinja <<'END'
{{- bos_token }}{% for m in messages %}{{ tag | default('@') ~ m.role[0] ~ ':' ~ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ tag | default('@') ~ 'a:' }}{% endif %}
END
cat >train.jsonl <<'END'
{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two", "mood": "good"}]}
{"messages": [{"role": "user", "content": "red"}, {"role": "assistant", "content": "blue", "weight": 0}, {"role": "user", "content": "sea"}, {"role": "assistant", "content": "green"}]}
END
cat >config.yaml <<END
model: {path: model}
data: {train: train.jsonl, chat_template: own.jinja, max_length: 64, packing: false, shuffle: false}
training: {output_dir: run, max_steps: 4, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, save_steps: 2}
device: {backend: $backend, threads: 2}
END
expect 0 "$QLORA_TRAIN" config.yaml
grep -q '^template  .*own\.jinja$' out.txt || { cat out.txt; fail "the template is not named"; }
grep -A 1 '^row 1 ' out.txt | tail -n 1 >row
[ "$(cat row)" = '<bos>@u:one@a:[[two<eos>]]' ] || fail "the first row is $(cat row)"
grep -q '^warning: .*train\.jsonl: in 1 row a message has a key that no chat template is known to read ("mood")' err.txt ||
    { cat err.txt; fail "no warning of a key"; }

# As a program reads it: the rows as they are trained, an answer of weight 0 not.
expect 0 "$QLORA_TRAIN" inspect train.jsonl --model model --chat-template own.jinja --rows 2
grep -qF '<bos>@u:red@a:blue<eos>@u:sea@a:[[green<eos>]]' out.txt || { cat out.txt; fail "weight 0 is trained"; }

# The finished run is the same run wherever the file lies, and another one if it says something else.
mkdir elsewhere && mv own.jinja elsewhere/
expect 0 "$QLORA_TRAIN" config.yaml data.chat_template=elsewhere/own.jinja
grep -q 'this run is finished' out.txt || { cat out.txt; fail "not known as the same run"; }
expect 2 "$QLORA_TRAIN" config.yaml
grep -q 'data\.chat_template: .*own\.jinja: No such file' err.txt || { cat err.txt; fail "the missing file is not named"; }
sed 's/@/#/g' elsewhere/own.jinja >own.jinja
expect 2 "$QLORA_TRAIN" config.yaml training.max_steps=4
grep -q 'other training data' err.txt || { cat err.txt; fail "another template is taken for the same"; }
mv elsewhere/own.jinja .
expect 2 "$QLORA_TRAIN" config.yaml 'data.chat_template_kwargs={tag: "#"}'
grep -q 'data.chat_template_kwargs={"*tag"*: "#"}' err.txt || { cat err.txt; fail "the variables are not named"; }

# A checkpoint has the file with it: an export needs no other, and hands it on.
mv own.jinja gone.jinja
expect 0 "$QLORA_TRAIN" export run/checkpoint-4 --merged merged
cmp merged/chat_template.jinja gone.jinja || fail "the export has another template"
cp -r run "run: [a] #'b"
expect 0 "$QLORA_TRAIN" export "run: [a] #'b/checkpoint-4" --merged named
cmp named/chat_template.jinja gone.jinja || fail "the export from a name full of YAML has another template"
mv gone.jinja own.jinja

# Variables reach it, from the config and from a row.
sed 's/}]}$/}], "chat_template_kwargs": {"tag": "%"}}/' train.jsonl >tagged.jsonl
expect 0 "$QLORA_TRAIN" inspect tagged.jsonl --model model --chat-template own.jinja --chat-template-kwargs '{"tag": "#"}'
grep -qF '<bos>%u:one%a:[[two<eos>]]' out.txt || { cat out.txt; fail "a row's variables do not reach the template"; }
expect 0 "$QLORA_TRAIN" inspect train.jsonl --model model --chat-template own.jinja --chat-template-kwargs '{"tag": "#"}'
grep -qF '<bos>#u:one#a:[[two<eos>]]' out.txt || { cat out.txt; fail "variables do not reach the template"; }

# A template that is none, with its place.
echo '{% for m in messages %}{{ m.content }}' >own.jinja
expect 2 "$QLORA_TRAIN" plan config.yaml training.output_dir=other_run
grep -q 'own\.jinja:1:' err.txt || { cat err.txt; fail "the place in the template is not named"; }
