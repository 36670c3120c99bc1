#!/bin/bash
# The app's benchmark runner on this desktop's JVM, over the unmodified Android TFLite: run.sh --models DIR [options of org.dgms.host.Main]
# Needs the classes (mvn -f pom.xml process-test-classes) and native.sh.
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
classpath=$out/maven/test-classes:$out/maven/classes:$(cat "$out/maven/classpath.txt")
exec java -Djava.library.path="$out/native/x86_64:$out/aar/tensorflow-lite/jni/x86_64" -Ddgms.shim.dir="$out/shim/x86_64" \
  -cp "$classpath" org.dgms.host.Main "$@"
