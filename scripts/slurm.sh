#!/usr/bin/env bash
# The kit's grid on a real SLURM of one machine: `make slurm-test`. It needs root and a Debian or Ubuntu whose packages
# can be installed, such as a container, and says so where it has not. What it starts it ends again.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "skipped: a SLURM of one machine is set up by root"; exit 0; }
if ! command -v slurmctld >/dev/null; then
  apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null 2>&1 ||
    { echo "skipped: the packages slurmctld, slurmd, slurm-client and munge cannot be installed"; exit 0; }
fi

folder=$(mktemp -d /tmp/ctsl-slurm.XXXXXX)
export SLURM_CONF=$folder/slurm.conf
host=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=4000
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
mkdir "$folder/state" "$folder/spool"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 700 "$folder"; chmod 400 "$folder/munge.key"

end() {
  scancel --state=RUNNING --state=PENDING --me >/dev/null 2>&1 || true
  for name in slurmd slurmctld munged; do [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" || true; done
  sleep 1
  rm -rf "$folder"
}
trap end EXIT
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
slurmctld
slurmd
.venv/bin/python -m pytest -q -p no:cacheprovider tests/slurm.py "$@"
