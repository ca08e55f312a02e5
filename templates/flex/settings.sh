# What build.sh and launch.sh both have to know; read by them, from the repository's root.
#
# BUCKET    where the template lies, gs://…; has to be given
# PROJECT   of Google Cloud (gcloud's own)
# REGION    of image and job (gcloud's own: dataflow/region or compute/region)
# KIND      gpu or cpu (gpu)
# IMAGE     REGISTRY/PATH:TAG (REGION-docker.pkg.dev/PROJECT/alphabeam/alphabeam-KIND:VERSION)
# TEMPLATE  the template's file (BUCKET/templates/alphabeam-KIND-VERSION.json)
# shellcheck shell=bash

setting() { gcloud config get-value "$1" 2>/dev/null; }

: "${BUCKET:?say where the template lies, for example BUCKET=gs://my-bucket}"
PROJECT=${PROJECT:-$(setting project)}
REGION=${REGION:-$(setting dataflow/region)}
REGION=${REGION:-$(setting compute/region)}
: "${PROJECT:?say which, for example PROJECT=my-project}"
: "${REGION:?say which, for example REGION=europe-west4}"
KIND=${KIND:-gpu}
case $KIND in gpu | cpu) ;; *) echo "KIND is gpu or cpu: given $KIND" >&2 && exit 2 ;; esac
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
# As Artifact Registry spells domain-scoped projects: example.com:photos.
REPOSITORY=$REGION-docker.pkg.dev/${PROJECT/://}/alphabeam
IMAGE=${IMAGE:-$REPOSITORY/alphabeam-$KIND:$VERSION}
TEMPLATE=${TEMPLATE:-${BUCKET%/}/templates/alphabeam-$KIND-$VERSION.json}
