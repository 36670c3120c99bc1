plugins { alias(libs.plugins.android.library) }

android {
  namespace = "org.dgms.tflite"
  compileSdk = libs.versions.compileSdk.get().toInt()
  ndkVersion = libs.versions.ndk.get()

  defaultConfig {
    minSdk = libs.versions.minSdk.get().toInt()
    consumerProguardFiles("consumer-rules.pro")
    // x86_64 is for the emulator; apps that want it add it in the same way.
    ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    externalNativeBuild {
      cmake {
        // Optimised in debug builds of the app too: "run" in Android Studio makes those, and would time unoptimised kernels.
        arguments += listOf("-DANDROID_STL=c++_static", "-DCMAKE_BUILD_TYPE=Release")
        targets += "dgms_delegate"
      }
    }
  }

  // The delegate's one CMake project: the same as on desktops, with the functions for Java added on Android.
  externalNativeBuild {
    cmake {
      path = file("../../delegate/CMakeLists.txt")
      version = libs.versions.cmake.get()
    }
  }

  // They run the delegate in Android's TFLite on a desktop's JVM, which takes the shims of ../host: see host/pom.xml.
  sourceSets { getByName("test") { java.setSrcDirs(emptyList<String>()) } }

  compileOptions {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
  }
}

dependencies {
  // Its interface Delegate is part of this library's own.
  api(libs.litert)
}
