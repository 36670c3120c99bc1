package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** Benchmarks where one of our native libraries is missing, each in a JVM of its own. */
public class MissingLibraryTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  @Test
  public void withoutTheDelegateTheOtherPathsRun() throws Exception {
    BenchmarkResult result = benchmark("dgms_bench", "tensorflowlite_jni");
    assertEquals(
        "the native library `dgms_delegate` must be loadable."
            + " Received: no dgms_delegate in java.library.path",
        untilColon(result.path(PathKind.DELEGATE).error()));
    for (PathKind kind : new PathKind[] {PathKind.XNNPACK, PathKind.BUILTIN, PathKind.DENSE_XNNPACK}) {
      assertEquals(kind.id(), 3, result.path(kind).runsMs().length);
    }
    assertTrue(result.machine().features().isEmpty());
    assertEquals(PathKind.DENSE_XNNPACK, result.peer());
  }

  @Test
  public void withoutTheBenchLibraryOnlyBuiltinRuns() throws Exception {
    BenchmarkResult result = benchmark("dgms_delegate", "tensorflowlite_jni");
    for (PathKind kind : new PathKind[] {PathKind.DELEGATE, PathKind.XNNPACK, PathKind.DENSE_XNNPACK}) {
      assertEquals(
          "the native library `dgms_bench` must be loadable. Received: no dgms_bench in java.library.path",
          untilColon(result.path(kind).error()));
    }
    assertEquals(3, result.path(PathKind.BUILTIN).runsMs().length);
    assertEquals(PathKind.BUILTIN, result.peer());
  }

  @Test
  public void withoutTfliteThereIsAReason() throws Exception {
    String output = run(program(library("dgms_bench", "dgms_delegate")), 1);
    assertTrue(output, output.contains("RUNTIME_UNAVAILABLE: TFLite's native library must be loadable."));
  }

  /** The JVM appends the path that it searched. */
  private static String untilColon(String error) {
    int colon = error.indexOf(": ", error.indexOf("Received: ") + "Received: ".length());
    return colon < 0 ? error : error.substring(0, colon);
  }

  private BenchmarkResult benchmark(String... libraries) throws Exception {
    File json = new File(folder.getRoot(), "result.json");
    run(program(library(libraries)), 0);
    String text = Files.readText(json);
    ResultSchema.check(text);
    return BenchmarkResult.fromJson(text);
  }

  /** A library path with links to some libraries of this JVM's. */
  private String library(String... names) throws IOException {
    File links = folder.newFolder();
    for (String name : names) {
      String file = "lib" + name + ".so";
      for (String entry : System.getProperty("java.library.path").split(":")) {
        File library = new File(entry, file);
        if (library.isFile()) {
          java.nio.file.Files.createSymbolicLink(
              new File(links, file).toPath(), library.getAbsoluteFile().toPath());
          break;
        }
      }
    }
    assertEquals(names.length, links.list().length);
    return links.getPath();
  }

  private List<String> program(String libraryPath) throws IOException {
    String classpath = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    return new ArrayList<String>(
        Arrays.asList(
            new File(System.getProperty("java.home"), "bin/java").getPath(),
            "-cp",
            classpath,
            "-Djava.library.path=" + libraryPath,
            "-Ddgms.shim.dir=" + System.getProperty("dgms.shim.dir"),
            "-Ddgms.models.dir=" + System.getProperty("dgms.models.dir"),
            BenchmarkProgram.class.getName(),
            new File(folder.getRoot(), "result.json").getPath()));
  }

  private String run(List<String> command, int expectedStatus) throws Exception {
    File log = folder.newFile();
    Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log).start();
    try {
      assertTrue("still running", process.waitFor(120, TimeUnit.SECONDS));
    } finally {
      process.destroyForcibly();
    }
    String output = new String(Files.readBytes(log), StandardCharsets.UTF_8);
    assertEquals(output, expectedStatus, process.exitValue());
    return output;
  }
}
