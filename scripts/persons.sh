#!/usr/bin/env bash
# The committed records of the synthetic persons, which notebooks 13 and 20 show: ten seeds, once with right labels and
# once with 40 % of them redrawn. About ten minutes on two cores. CTSL_RECORDS names the folder to write to.
set -euo pipefail
cd "$(dirname "$0")/.."
ctsl=${CTSL:-.venv/bin/ctsl}

for noise in 0 0.4; do "$ctsl" train synthetic_market --profile small -p seeds=10 -p "label_noise=$noise"; done
