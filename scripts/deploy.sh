#!/usr/bin/env bash
# A whole network on this machine: two bootstrap nodes and N nodes, in containers or as processes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly max_nodes=200 # a container network of 256 addresses has room for them
readonly api_port=${API_PORT:-7400} p2p_port=${P2P_PORT:-8300}
readonly patience=60 # seconds until all must be healthy, once they are started
readonly state=data/deployment
readonly network=dht-14_network label=dht14.deployment=$PWD
readonly image=${IMAGE:-dht14} api_host=${API_HOST:-127.0.0.1}
readonly bin=$PWD/.venv/bin

usage() {
    cat <<END
usage: scripts/deploy.sh N            build the image and start N nodes in containers (Docker)
       scripts/deploy.sh --local N    start them as processes of this user, without a container engine
       scripts/deploy.sh stop         end them and remove all that they left, the values too

N is a number from 1 to $max_nodes. The API of node_1 is on port 7401 of 127.0.0.1, that of node_2 on 7402, and so
on. All nodes read conf/config.ini; the key of their values is made for this deployment, in $state.

environment: API_HOST     address of this machine on which containers have their APIs (127.0.0.1)
             API_PORT     the port before that of node_1's API ($api_port)
             P2P_PORT     processes: 1 and 2 above it are bootstrap nodes, from 101 on nodes ($p2p_port)
             IMAGE        name of the image (dht14)
             BASE_IMAGE   what it is made from (as the Dockerfile says)
END
}

main() {
    case $#:${1-} in
        1:stop) stop ;;
        1:-h | 1:--help) usage ;;
        2:--local) deploy process "$2" ;;
        1:*) deploy container "$1" ;;
        *) wrong_usage "it takes one number, --local and a number, or stop" ;;
    esac
}

wrong_usage() {
    usage >&2
    printf 'deploy.sh: %s\n' "$1" >&2
    exit 2
}

refuse() {
    printf 'deploy.sh: %s\n' "$1" >&2
    exit 1
}

# What is the same for both kinds. KIND is container or process, NAME is node_1, bootstrap_node_2 and so on.

deploy() { # KIND NUMBER
    local -r began=$SECONDS
    local name
    kind=$1
    if ! [[ $2 =~ ^[1-9][0-9]{0,2}$ ]] || (($2 > max_nodes)); then
        wrong_usage "'$2' is not a number from 1 to $max_nodes"
    fi
    mapfile -t nodes < <(seq -f 'node_%g' 1 "$2")
    be_alone
    [[ ! -e $state ]] || refuse "there is a deployment already; scripts/deploy.sh stop ends it"
    "check_for_$kind"
    trap give_up EXIT
    trap 'exit 130' INT TERM # not before the command that runs has ended
    umask 077
    mkdir -p "$state"
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$state/encryption.key"
    "prepare_$kind"
    # Those through which the others join go first: so nobody has to try twice.
    for name in bootstrap_node_1 bootstrap_node_2; do "start_$kind" "$name"; done
    wait_until_healthy bootstrap_node_1 bootstrap_node_2
    for name in "${nodes[@]}"; do "start_$kind" "$name"; done
    wait_until_healthy "${nodes[@]}"
    trap - EXIT
    cat <<END
${#nodes[@]} nodes are up, $((SECONDS - began)) s. The API of node_1 is 127.0.0.1:$((api_port + 1)), that of node_2 one port further.
  python3 scripts/dht_client.py -p $((api_port + 1)) -s -k greeting -d 'hello, all'
  python3 scripts/dht_client.py -p $((api_port + ${#nodes[@]})) -g -k greeting
  $("logs_of_a_$kind")
  scripts/deploy.sh stop
END
}

be_alone() {
    exec 9<.
    flock --nonblock 9 || refuse "another deploy.sh is at work here"
}

wait_until_healthy() { # NAME ...
    local -r deadline=$((SECONDS + patience))
    local name said
    for name; do
        until said=$("ask_$kind" "$name" 2>&1); do
            if ((SECONDS > deadline)) || "has_ended_$kind" "$name"; then
                "show_log_of_$kind" "$name" >&2
                refuse "$name does not work: $said"
            fi
            sleep 0.5
        done
    done
}

give_up() {
    trap - EXIT
    echo "deploy.sh: giving up; what was started is ended" >&2
    "remove_$kind" || true
    rm -rf "$state"
    exit 1
}

stop() {
    be_alone
    if [[ -d $state ]]; then remove_process; fi
    if engine_answers; then
        remove_container
    elif [[ -e $state/in_containers ]]; then
        refuse "the container engine does not answer: what it runs cannot be ended now"
    fi
    rm -rf "$state"
}

role() { echo "${1%_*}"; }
number() { echo "${1##*_}"; }

# Containers.

engine_answers() { docker version >/dev/null 2>&1; }

containers() { docker ps --all --quiet --filter "label=$label"; }

check_for_container() {
    engine_answers || refuse "no Docker engine answers here; install or start one, or give --local"
    [[ -z $(containers) ]] || refuse "there is a deployment already; scripts/deploy.sh stop ends it"
}

prepare_container() {
    : >"$state/in_containers"
    docker build ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --tag "$image" .
    docker network create --label "$label" "$network" >/dev/null
    # By the environment: the arguments of docker can be seen by every user.
    DHT14_SECURITY_ENCRYPTION_KEY=$(<"$state/encryption.key")
    export DHT14_SECURITY_ENCRYPTION_KEY
}

start_container() { # NAME
    local publish=()
    [[ $1 == bootstrap_* ]] || publish=(--publish "$api_host:$((api_port + $(number "$1"))):7400")
    docker run --detach --init --restart unless-stopped --stop-timeout 20 \
        --name "dht-14_$1" --hostname "$1" --label "$label" \
        --network "$network" --network-alias "$1" ${publish[@]+"${publish[@]}"} \
        --read-only --cap-drop ALL --security-opt no-new-privileges \
        --env "NODE_TYPE=$(role "$1")" --env DHT14_SECURITY_ENCRYPTION_KEY \
        --env DHT14_BOOTSTRAP_1=bootstrap_node_1:8000 --env DHT14_BOOTSTRAP_2=bootstrap_node_2:8000 \
        "$image" >/dev/null
}

ask_container() { docker exec "dht-14_$1" /app/container.sh health; } # NAME

has_ended_container() { # NAME
    [[ $(docker inspect --format '{{.State.Running}} {{.RestartCount}}' "dht-14_$1") != 'true 0' ]]
}

show_log_of_container() { docker logs --tail 20 "dht-14_$1"; } # NAME

logs_of_a_container() { echo "docker logs dht-14_node_1"; }

remove_container() {
    local ids
    mapfile -t ids < <(containers)
    if ((${#ids[@]})); then
        docker stop --time 20 "${ids[@]}" >/dev/null
        docker rm --force --volumes "${ids[@]}" >/dev/null
    fi
    mapfile -t ids < <(docker network ls --quiet --filter "label=$label")
    if ((${#ids[@]})); then docker network rm "${ids[@]}" >/dev/null; fi
}

# Processes. Each holds the lock of its data directory for as long as it lives.

check_for_process() { command -v make >/dev/null || refuse "it takes make to set up $bin"; }

prepare_process() { make --silent .venv/installed; }

in_the_environment_of() { # NAME COMMAND ...
    local -r name=$1 number=$(number "$1")
    local p2p=$((p2p_port + 100 + number))
    [[ $name == node_* ]] || p2p=$((p2p_port + number))
    shift
    DHT14_NODE_DATA_DIR=$state/$name DHT14_NODE_P2P_ADDRESS=127.0.0.1:$p2p \
        DHT14_NODE_API_ADDRESS=127.0.0.1:$((api_port + number)) \
        DHT14_BOOTSTRAP_1=127.0.0.1:$((p2p_port + 1)) DHT14_BOOTSTRAP_2=127.0.0.1:$((p2p_port + 2)) \
        DHT14_SECURITY_ENCRYPTION_KEY=file:$PWD/$state/encryption.key "$@"
}

start_process() { # NAME
    local plugin=dht14
    [[ $1 == node_* ]] || plugin=dht14-bootstrap
    in_the_environment_of "$1" "$bin/twistd" "$plugin" --config conf/config.ini 9>&-
}

ask_process() { # NAME
    in_the_environment_of "$1" "$bin/dht14" health --role "$(role "$1")" --config conf/config.ini
}

has_ended_process() { flock --nonblock "$state/$1/lock" true; } # NAME

show_log_of_process() { tail -n 20 "$state/$1/twistd.log"; } # NAME

logs_of_a_process() { echo "tail -f $state/node_1/twistd.log"; }

remove_process() {
    local folder name running=()
    for folder in "$state"/*node_*/; do
        name=$(basename "$folder")
        if [[ -e $folder/twistd.pid ]] && ! has_ended_process "$name"; then
            kill -TERM "$(<"$folder/twistd.pid")"
            running+=("$name")
        fi
    done
    for name in ${running[@]+"${running[@]}"}; do
        flock --timeout 20 "$state/$name/lock" true || kill -KILL "$(<"$state/$name/twistd.pid")"
    done
}

main "$@"
