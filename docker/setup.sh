#!/bin/sh
# Prepares `docker compose up`: random passwords in secrets/, and .env. Keeps what exists.
#
#   docker/setup.sh                     one model process with a GPU of its own
#   docker/setup.sh gpu label-studio    … and Label Studio beside it
#   docker/setup.sh vllm                vLLM on the GPU, and two light workers
#   docker/setup.sh openai              the same workers, for a server elsewhere
set -eu
umask 077
cd "$(dirname "$0")/.."

engine=local profiles=gpu
for word in "$@"; do
    case $word in
        gpu) ;;
        vllm | openai) engine=openai profiles=$word ;;
        label-studio) ;;
        *) echo "unknown: $word. Choose from: gpu, vllm, openai, label-studio" >&2; exit 2 ;;
    esac
done
case " $* " in *" label-studio "*) profiles=$profiles,label-studio ;; esac

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Containers run as other users, so the files are readable to all; the folder is not.
keep() { # mode and name of a new file in secrets/, its text from standard input
    [ -e "secrets/$2" ] || { cat >"secrets/$2.new"; chmod "$1" "secrets/$2.new"; mv "secrets/$2.new" "secrets/$2"; }
}

mkdir -p secrets
if [ ! -e secrets/users.acl ] || [ ! -e secrets/redis_url ]; then
    rm -f secrets/users.acl secrets/redis_url
    password=$(random)
    digest=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
    sed -e "/^#/d" -e "s/PASSWORD_DIGEST/$digest/" docker/users.acl | keep 444 users.acl
    echo "redis://grounding:$password@redis:6379/0" | keep 444 redis_url
fi
random | keep 444 basic_auth_pass
# To be filled in; an empty file counts as none.
printf '' | keep 644 label_studio_api_key
printf '' | keep 644 openai_api_key

if [ ! -e .env ]; then
    sed "s/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=$profiles/; s/^GROUNDING_ENGINE=.*/GROUNDING_ENGINE=$engine/" docker/example.env >.env
    echo "Wrote .env: look through it, MODEL above all."
else
    kept=$(sed -n 's/^COMPOSE_PROFILES=//p' .env)
    echo "Kept .env as it is, with COMPOSE_PROFILES=$kept."
    case $# in 0) ;; *) [ "$kept" = "$profiles" ] || echo "For $profiles, change COMPOSE_PROFILES and GROUNDING_ENGINE=$engine there." ;; esac
fi
user=$(sed -n 's/^BASIC_AUTH_USER=//p' .env)
echo "Next: docker compose up --build --detach"
echo "Label Studio's Connect Model dialog: user ${user:-label-studio}, password $(cat secrets/basic_auth_pass)"
