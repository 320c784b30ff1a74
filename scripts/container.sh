#!/bin/sh
# The entry point of the image. NODE_TYPE says what it runs: node (the default) or bootstrap_node.
#   container.sh [OPTION ...]    runs it, with these options of twistd dht14 or twistd dht14-bootstrap
#   container.sh health          whether it works
set -eu

config=/app/config.ini
case ${NODE_TYPE:=node} in
    node) plugin=dht14 ;;
    bootstrap_node) plugin=dht14-bootstrap ;;
    *)
        echo "dht14: NODE_TYPE is '$NODE_TYPE'; set it to node or bootstrap_node" >&2
        exit 78
        ;;
esac

if [ "${1-}" = health ]; then
    exec dht14 health --role "$NODE_TYPE" --config "$config"
fi
exec twistd -n "$plugin" --config "$config" "$@"
