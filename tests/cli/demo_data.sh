# data/demo is what scripts/make_demo_data.py writes.
set -euo pipefail
command -v python3 >/dev/null || { echo "python3 is not there"; exit 77; }
python3 "$TESTS/../scripts/make_demo_data.py" --check
