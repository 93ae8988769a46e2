#!/bin/sh
# Runs before everything else: refuses secrets that are missing, short or the example's, and gives the volumes of etcd and
# MinIO to the user that these run as. The only thing here that runs as root, with no network and one capability.
set -eu

secrets='REDIS_PASSWORD MILVUS_PASSWORD MINIO_PASSWORD FLOWER_PASSWORD'

refuse() {
    echo "imagefleet: $1 in .env $2; put the output of \`openssl rand -hex 24\` there and start again." >&2
    exit 2
}

for name in $secrets; do
    eval "value=\${$name-}"
    case $value in
    '') refuse "$name" 'is empty' ;;
    *change-me*) refuse "$name" "is still the example's" ;;
    # Addresses and configuration files carry these values, so they must need no quoting there.
    *[!A-Za-z0-9_-]*) refuse "$name" 'has other characters than letters, digits, _ and -' ;;
    esac
    [ "${#value}" -ge 16 ] || refuse "$name" 'is shorter than 16 characters'
    [ "${#value}" -le 64 ] || refuse "$name" 'is longer than 64 characters'
done

[ "$#" -eq 0 ] || chown 10001:10001 "$@"
