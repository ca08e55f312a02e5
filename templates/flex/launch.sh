#!/usr/bin/env bash
# Launches a job from the template that build.sh made; arguments are flags of `alphabeam run`.
#
#   BUCKET=gs://my-bucket templates/flex/launch.sh \
#       manifest=gs://my-bucket/photos.parquet output=gs://my-bucket/cutouts engine=birefnet save_mask=true
#
# BUCKET, PROJECT, REGION, KIND, IMAGE, TEMPLATE   as in settings.sh
# JOB       its name (alphabeam-DATE-TIME)
# WORKERS   at most (Dataflow's own limit)
# MACHINE   of the workers (the job's own choice: one that carries the GPU)
# ACCOUNT   service account of the workers (the project's default one)
# SUBNET    regions/REGION/subnetworks/NAME; the workers then have no public addresses (default)
set -euo pipefail
cd "$(dirname "$0")/../.."

. templates/flex/settings.sh
JOB=${JOB:-alphabeam-$(date -u +%Y%m%d-%H%M%S)}

flags=(
    --project "$PROJECT"
    --region "$REGION"
    --template-file-gcs-location "$TEMPLATE"
    --temp-location "${BUCKET%/}/tmp"
    --staging-location "${BUCKET%/}/staging"
    --parameters "sdk_container_image=$IMAGE"
)
if [[ $KIND == cpu ]]; then flags+=(--parameters "gpu=none"); fi
if [[ -n ${WORKERS:-} ]]; then flags+=(--max-workers "$WORKERS"); fi
if [[ -n ${MACHINE:-} ]]; then flags+=(--worker-machine-type "$MACHINE"); fi
if [[ -n ${ACCOUNT:-} ]]; then flags+=(--service-account-email "$ACCOUNT"); fi
if [[ -n ${SUBNET:-} ]]; then flags+=(--subnetwork "$SUBNET" --disable-public-ips); fi
for parameter in "$@"; do
    if [[ $parameter != [a-z]*=* ]]; then
        echo "an argument is NAME=VALUE, such as engine=birefnet or save_mask=true: given $parameter" >&2
        exit 2
    fi
    flags+=(--parameters "^~~^$parameter")  # so that commas within a value stay there
done
gcloud dataflow flex-template run "$JOB" "${flags[@]}"
