#!/usr/bin/env bash
# The committed records of the built-in digits, which the course's notebooks show: ten seeds of everything. About
# an hour on two cores. CTSL_RECORDS names the folder to write to.
set -euo pipefail
cd "$(dirname "$0")/.."
ctsl=${CTSL:-.venv/bin/ctsl}

train() { # [NAME=VALUE ...]
  local settings=()
  for setting in "$@"; do settings+=(-p "$setting"); done
  "$ctsl" train digits --profile digits "${settings[@]}"
}
equal='pairs=[[tiny_cnn, tiny_cnn]]'
five='methods=[independent, dml, rkd, tfkd, ctsl_mkt]'

train                                                     # the table of notebook 10: two pairs, ten rows
train "$equal" 'rows={uniform_teacher: {ce: 5, label_smoothing: 0.8}}' 'methods=[uniform_teacher]'  # notebook 04
train "$equal" 'rows={five_times: {ce: 5}}' 'methods=[five_times]'  # 04 and 05: the size of the loss alone
for noise in 0.4 0; do                                    # a large, trained teacher in place of peers, notebook 05
  train "$equal" 'methods=[kd]' teacher=wide_cnn "label_noise=$noise"
  train "$equal" 'rows={large_teacher: {ce: 1, self: 4, teacher: wide_cnn}}' 'methods=[large_teacher]' "label_noise=$noise"
done
train 'pairs=[[tiny_cnn], [tiny_cnn, tiny_cnn, tiny_cnn], [tiny_cnn, tiny_cnn, tiny_cnn, tiny_cnn]]' \
  'methods=[independent, dml, ctsl_mkt]'                  # groups of one, three and four peers, notebook 05
for noise in 0 0.2 0.6; do train "$equal" "$five" "label_noise=$noise"; done  # how much each method gains, by noise
train "$equal" 'methods=[independent_2x]' label_noise=0   # the rival of equal cost where labels are right, notebook 05
train "$equal" 'schedule=steps' 'drop_at=[]' "$five"      # the same methods where the rate never falls
for noise in 0.4 0; do                                    # the map of regimes, notebook 21; 400 x 12 is there
  for split in "100 48" "200 24" "800 6"; do
    read -r images epochs <<<"$split"
    train "$equal" 'methods=[independent, independent_2x, dml, tfkd, ctsl_mkt]' "label_noise=$noise" \
      "n_train=$images" "epochs=$epochs"
  done
done
train "$equal" 'methods=[independent]' epochs=24 weight_decay=0.02  # the rival of equal cost with its own recipe, 05
controls='rows={five_times: {ce: 5}, nine_times: {ce: 9}, uniform_teacher: {ce: 5, label_smoothing: 0.8}}'
for noise in 0.4 0; do                                    # what is no knowledge, on the same map
  for split in "100 48" "200 24" "400 12" "800 6"; do
    read -r images epochs <<<"$split"
    train "$equal" "$controls" 'methods=[five_times, nine_times, uniform_teacher]' "label_noise=$noise" \
      "n_train=$images" "epochs=$epochs"
  done
done
"$ctsl" notebooks 01b --out results/notebooks             # it trains its own: teachers of four sizes and their students
