#!/bin/sh
# Starts Redis with the password in a file that only it can read, since every user of a machine can read command lines.
set -eu
umask 077
configuration=/run/redis/redis.conf
{
    cat /etc/imagefleet/redis.conf
    printf 'requirepass %s\n' "${REDISCLI_AUTH:?is empty}"
} >"$configuration"
exec redis-server "$configuration"
