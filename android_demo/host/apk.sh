#!/bin/bash
# The Java half of an APK, really built: the classes of :app, :delegate and TFLite as dex, the resources and assets of resources.sh, the native
# libraries of TFLite; aligned, signed with a throw-away key and verified. What is missing for a phone: our native libraries, which the NDK builds.
# Needs the compiled classes (mvn -f pom.xml process-classes).
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
need zipalign zipalign apksigner apksigner zip zip unzip unzip
apk=$out/apk
classes=$out/maven/classes
[ -d "$classes/org/dgms/demo" ] || { echo "apk.sh: no classes in $classes; run mvn -f $host/pom.xml process-classes first" >&2; exit 1; }
rm -rf "$apk"
mkdir -p "$apk/java" "$apk/lib"

say "dex"
cp -r "$classes/." "$apk/java/"
for part in tensorflow-lite tensorflow-lite-api; do unzip -qo "$out/aar/$part/classes.jar" -d "$apk/java" -x 'META-INF/*'; done
java -cp "$out/fetched/dalvik-dx.jar" com.android.dx.command.Main --dex --min-sdk-version=24 --output="$apk/classes.dex" "$apk/java"
# Magic and version: 037 is what Android 7.0 (API 24) reads.
[ "$(head -c 8 "$apk/classes.dex" | tr -d '\n\0')" = dex037 ] || { echo "apk.sh: classes.dex must have version 037. Received: $(head -c 8 "$apk/classes.dex" | od -c | head -1)" >&2; exit 1; }

say "APK"
cp "$out/res/resources.apk" "$apk/unaligned.apk"
for abi in arm64-v8a armeabi-v7a; do
  mkdir -p "$apk/lib/$abi"
  cp "$out/aar/tensorflow-lite/jni/$abi/libtensorflowlite_jni.so" "$apk/lib/$abi/"
done
(cd "$apk" && zip -q unaligned.apk classes.dex && zip -qr0 unaligned.apk lib)
zipalign -f -p 4 "$apk/unaligned.apk" "$apk/unsigned.apk"
zipalign -c -p 4 "$apk/unsigned.apk"
password=android
keytool -genkeypair -keystore "$apk/key.jks" -storepass $password -keypass $password -alias check -keyalg RSA -keysize 2048 -validity 1 \
  -dname "CN=check" 2>/dev/null
apksigner sign --ks "$apk/key.jks" --ks-pass pass:$password --ks-key-alias check --min-sdk-version 24 --out "$apk/app-java-half.apk" "$apk/unsigned.apk"
apksigner verify --min-sdk-version 24 --print-certs "$apk/app-java-half.apk" | head -1
rm -rf "${apk:?}"/{java,lib,unaligned.apk,unsigned.apk}
aapt2 dump badging "$apk/app-java-half.apk" | grep -E "^(package|minSdk|sdkVersion|targetSdk|launchable)" || true
say "$(stat -c %s "$apk/app-java-half.apk") bytes: $apk/app-java-half.apk (Java half: without our native libraries)"
