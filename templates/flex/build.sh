#!/usr/bin/env bash
# Builds the template's image with Cloud Build, and the template itself.
#
#   BUCKET=gs://my-bucket templates/flex/build.sh
#
# BUCKET    where the template goes, gs://…; has to be given
# PROJECT   of Google Cloud (gcloud's own)
# REGION    of image and job (gcloud's own: dataflow/region or compute/region)
# KIND      gpu or cpu (gpu)
# WEIGHTS   of the GPU image: a folder, here or gs://…, with config.json and model.safetensors, for
#           model=/opt/alphabeam/weights (none: give model=gs://… when launching)
# EXTRAS    of alphabeam that the image holds, comma-separated (those its Dockerfile names)
# TORCH     version for the GPU image; an older one runs on older drivers (its Dockerfile's)
# IMAGE     REGISTRY/PATH:TAG (REGION-docker.pkg.dev/PROJECT/alphabeam/alphabeam-KIND:VERSION)
# TEMPLATE  the template's file (BUCKET/templates/alphabeam-KIND-VERSION.json)
set -euo pipefail
cd "$(dirname "$0")/../.."

setting() { gcloud config get-value "$1" 2>/dev/null; }

: "${BUCKET:?say where the template goes, for example BUCKET=gs://my-bucket}"
PROJECT=${PROJECT:-$(setting project)}
REGION=${REGION:-$(setting dataflow/region)}
REGION=${REGION:-$(setting compute/region)}
: "${PROJECT:?say which, for example PROJECT=my-project}"
: "${REGION:?say which, for example REGION=europe-west4}"
KIND=${KIND:-gpu}
WEIGHTS=${WEIGHTS:-}
case $KIND in gpu | cpu) ;; *) echo "KIND is gpu or cpu: given $KIND" >&2 && exit 2 ;; esac
if [[ -n $WEIGHTS && $KIND == cpu ]]; then
    echo "WEIGHTS go into the GPU image only: leave them out, or KIND=cpu" >&2
    exit 2
fi
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
EXTRAS=${EXTRAS:-$(sed -n 's/^ARG EXTRAS=//p' "templates/flex/Dockerfile.$KIND")}
TORCH=${TORCH:-$(sed -n 's/^ARG TORCH=//p' templates/flex/Dockerfile.gpu)}
# As Artifact Registry spells domain-scoped projects: example.com:photos.
IMAGE=${IMAGE:-$REGION-docker.pkg.dev/${PROJECT/://}/alphabeam/alphabeam-$KIND:$VERSION}
TEMPLATE=${TEMPLATE:-${BUCKET%/}/templates/alphabeam-$KIND-$VERSION.json}

if [[ $IMAGE == "$REGION-docker.pkg.dev/${PROJECT/://}/alphabeam/"* ]] &&
    ! gcloud artifacts repositories describe alphabeam \
        --project "$PROJECT" --location "$REGION" >/dev/null 2>&1; then
    gcloud artifacts repositories create alphabeam \
        --project "$PROJECT" --location "$REGION" --repository-format docker
fi

# Nothing of an earlier build's is left in the image.
find templates/flex/weights -mindepth 1 ! -name README.md ! -name .gitignore -delete
if [[ $WEIGHTS == gs://* ]]; then
    gcloud storage cp --recursive "${WEIGHTS%/}/*" templates/flex/weights/
elif [[ -n $WEIGHTS ]]; then
    cp -R "${WEIGHTS%/}/." templates/flex/weights/
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
