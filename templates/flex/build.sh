#!/usr/bin/env bash
# Builds the template's image with Cloud Build, and the template itself.
#
#   BUCKET=gs://my-bucket templates/flex/build.sh
#
# BUCKET, PROJECT, REGION, KIND, IMAGE, TEMPLATE   as in settings.sh
# WEIGHTS   of the GPU image: a folder, here or gs://…, with config.json and model.safetensors, for
#           model=/opt/alphabeam/weights (none: give model=gs://… when launching)
# EXTRAS    of alphabeam that the image holds, comma-separated (those its Dockerfile names)
# TORCH     version for the GPU image; an older one runs on older drivers (its Dockerfile's)
set -euo pipefail
cd "$(dirname "$0")/../.."

. templates/flex/settings.sh
WEIGHTS=${WEIGHTS:-}
if [[ -n $WEIGHTS && $KIND == cpu ]]; then
    echo "WEIGHTS go into the GPU image only: leave them out, or KIND=cpu" >&2
    exit 2
fi
if [[ -n $WEIGHTS && $WEIGHTS != gs://* && ! -d $WEIGHTS ]]; then
    echo "WEIGHTS is a folder, here or gs://…: given $WEIGHTS" >&2
    exit 2
fi
EXTRAS=${EXTRAS:-$(sed -n 's/^ARG EXTRAS=//p' "templates/flex/Dockerfile.$KIND")}
TORCH=${TORCH:-$(sed -n 's/^ARG TORCH=//p' templates/flex/Dockerfile.gpu)}

if [[ $IMAGE == "$REPOSITORY/"* ]] &&
    ! gcloud artifacts repositories describe alphabeam \
        --project "$PROJECT" --location "$REGION" >/dev/null 2>&1; then
    gcloud artifacts repositories create alphabeam \
        --project "$PROJECT" --location "$REGION" --repository-format docker
fi

if [[ ! $WEIGHTS -ef templates/flex/weights ]]; then
    # Nothing of an earlier build's is left in the image.
    find templates/flex/weights -mindepth 1 ! -name README.md ! -name .gitignore -delete
    if [[ $WEIGHTS == gs://* ]]; then
        gcloud storage cp --recursive "${WEIGHTS%/}/*" templates/flex/weights/
    elif [[ -n $WEIGHTS ]]; then
        cp -R "${WEIGHTS%/}/." templates/flex/weights/
    fi
fi

gcloud builds submit . \
    --project "$PROJECT" \
    --config templates/flex/cloudbuild.yaml \
    --ignore-file templates/flex/gcloudignore \
    --substitutions "^;^_KIND=$KIND;_EXTRAS=$EXTRAS;_TORCH=$TORCH;_IMAGE=$IMAGE"
gcloud dataflow flex-template build "$TEMPLATE" \
    --project "$PROJECT" \
    --image "$IMAGE" \
    --sdk-language PYTHON \
    --metadata-file templates/flex/metadata.json
echo "image:    $IMAGE"
echo "template: $TEMPLATE"
