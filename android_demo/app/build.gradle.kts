plugins { alias(libs.plugins.android.application) }

// The bundled models, their sample images and labels: `make android-models` at the top of the repository trains them (about two minutes, once;
// it needs Python 3.10 or newer, g++ and make). Where make cannot run (Windows), put the folder there by hand: see README.md.
val bundled: Directory = layout.projectDirectory.dir("../../build/android/assets")
val androidModels =
  tasks.register<Exec>("androidModels") {
    description = "Makes the bundled models with the project's own recipe."
    workingDir(layout.projectDirectory.dir("../.."))
    commandLine("make", "android-models")
    val list = bundled.file("models/models.json").asFile
    onlyIf("the models are not there yet") { !list.exists() }
  }

android {
  namespace = "org.dgms.demo"
  compileSdk = libs.versions.compileSdk.get().toInt()
  ndkVersion = libs.versions.ndk.get()

  defaultConfig {
    applicationId = "org.dgms.demo"
    minSdk = libs.versions.minSdk.get().toInt()
    targetSdk = libs.versions.targetSdk.get().toInt()
    versionCode = 1
    versionName = "1.0"
    ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a") }
    externalNativeBuild { cmake { arguments += listOf("-DANDROID_STL=c++_static") } }
  }

  externalNativeBuild {
    cmake {
      path = file("src/main/cpp/CMakeLists.txt")
      version = libs.versions.cmake.get()
    }
  }

  buildTypes {
    // Timings are those of the release build; it is signed with the debug key so that "run" installs it without further ado.
    release {
      isMinifyEnabled = true
      proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
      signingConfig = signingConfigs.getByName("debug")
    }
  }

  compileOptions {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
  }

  androidResources { noCompress += "tflite" } // models are mapped from the APK's file, not read

  sourceSets {
    getByName("main") { assets.srcDir(bundled) }
    // They run on a desktop's JVM over Android's TFLite, which takes the shims of ../host: see host/pom.xml.
    getByName("test") { java.setSrcDirs(emptyList<String>()) }
  }
}

tasks.named("preBuild") { dependsOn(androidModels) }

dependencies {
  implementation(project(":delegate"))
  implementation(libs.litert)
}
