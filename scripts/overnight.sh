#!/usr/bin/env bash
# The runs of data/records/PLAN.md, in its order. Stop it at any time: what is finished stays, what is begun goes on
# from its last checkpoint when this is called again. Needs CIFAR-100 and CIFAR-10 (see `ctsl data`). KEEP=1 keeps the
# trained networks beside the records, for `ctsl weights export`; runs whose networks are not there are then trained again.
set -euo pipefail
cd "$(dirname "$0")/.."
ctsl=${CTSL:-.venv/bin/ctsl}

train() { # DATASET PAIR METHODS SEEDS [NAME=VALUE ...]
  local dataset=$1 pair=$2 methods=$3 seeds=$4 settings=()
  shift 4
  for setting in "pairs=[[$pair]]" "methods=[$methods]" "seeds=$seeds" "$@"; do settings+=(-p "$setting"); done
  "$ctsl" train "$dataset" --profile overnight --processes 2 --threads 1 ${KEEP:+--keep-weights} "${settings[@]}"
}

main="independent, independent_2x, dml, rkd, tfkd, ctsl_mkt"
rest="ctsl_mkt_warm, MLI+MLR, MLI+SLI, MLR+SLI"

# 1 CIFAR-100, pair of ResNet-14, seed by seed
for seeds in 1 2 3; do
  train cifar100 "resnet14, resnet14" "$main" $seeds
  train cifar100 "resnet14, resnet14" "$rest" $seeds
done
for seeds in 4 5; do train cifar100 "resnet14, resnet14" "$main" $seeds; done
# and rows that were added to the plan: label smoothing; two stages of half the epochs; and the soft target that this search
# chooses, as one more row (-p 'rows={soft target: {ce: ..., label_smoothing: ...}}', see notebook 22, section 6):
#   python -m scripts.search soft_targets --dataset cifar100 --profile overnight --seeds 2 --validation 5000
train cifar100 "resnet14, resnet14" "label_smoothing" 3
train cifar100 "resnet14, resnet14" "tfkd, ctsl_mkt" 3 epochs=39

# 2 The map of regimes: 600,000 image passes, pair of ResNet-8
for seeds in 1 2 3; do
  for split in "5000 120" "10000 60" "20000 30" "50000 12"; do
    read -r images epochs <<<"$split"
    train cifar100 "resnet8, resnet8" "independent, dml, tfkd, ctsl_mkt" $seeds "n_train=$images" "epochs=$epochs"
  done
done
for split in "5000 120" "10000 60" "20000 30" "50000 12"; do
  read -r images epochs <<<"$split"
  train cifar100 "resnet8, resnet8" "independent_2x" 3 "n_train=$images" "epochs=$epochs"
done

# 3 CIFAR-10, pair of ResNet-14
for seeds in 1 2 3; do train cifar10 "resnet14, resnet14" "$main" $seeds; done

# 4 CIFAR-100, mixed pair
for seeds in 1 2 3; do
  train cifar100 "resnet14, squeezenet_bn" "independent, independent_2x, dml, tfkd, ctsl_mkt" $seeds
done
