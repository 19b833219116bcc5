#!/bin/sh
# Copies the test corpus (SIPLEAK_CORPUS, or ../shared/corpus beside the clone) into FOLDER as seeds
# of TARGET. Without a corpus the fuzzer begins with nothing but its dictionary.
set -eu
target=$1
folder=$2
corpus=${SIPLEAK_CORPUS:-$(dirname "$0")/../../shared/corpus}
mkdir -p "$folder"
[ -d "$corpus" ] || { echo "no corpus at $corpus: starting without seeds" >&2; exit 0; }

# A file to itself for each message of a dump, as the whole is too long to mutate well.
split_messages() {
  offset=0
  size=$(wc -c <"$1")
  while [ $((offset + 16)) -le "$size" ]; do
    length=$(od -An -tu4 -j "$offset" -N 4 "$1" | tr -d ' ')
    [ "$length" -ge 16 ] || break
    tail -c +$((offset + 1)) "$1" | head -c "$length" >"$folder/seed-$offset"
    offset=$((offset + (length + 3) / 4 * 4))
  done
}

case $target in
rules)
  find "$corpus/rulesets" -type f ! -name '*.json*' | while read -r file; do
    cp "$file" "$folder/seed-$(echo "${file#"$corpus/rulesets/"}" | tr / -)"
  done
  ;;
sets)
  # No saved sets are in the corpus by themselves; rules begin with the same words.
  find "$corpus" -type f -name '*sets*' ! -name '*.json*' | while read -r file; do
    cp "$file" "$folder/seed-$(echo "${file#"$corpus/"}" | tr / -)"
  done
  ;;
flows)
  cp "$corpus/conntrack/live-table/raw.nlmsg" "$folder/seed-whole"
  split_messages "$corpus/conntrack/live-table/raw.nlmsg"
  ;;
esac
chmod -R u+w "$folder"
