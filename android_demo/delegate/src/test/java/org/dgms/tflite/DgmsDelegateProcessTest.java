package org.dgms.tflite;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/**
 * What needs a JVM of its own: other libraries on its path, the checker of JNI calls, everything it prints.
 */
public class DgmsDelegateProcessTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  @Test
  public void aMissingLibraryIsAReasonNotACrash() throws Exception {
    String output = run(folder.getRoot().getPath(), "available");
    String reason = "the native library `dgms_delegate` must be loadable. Received: no dgms_delegate in"
        + " java.library.path";
    assertTrue(output, output.contains("available: false\nreason: " + reason));
    assertTrue(output, output.contains("constructor: " + reason));
    assertTrue(output, output.contains("kernelSet: " + reason));
  }

  @Test
  public void aLibraryWithoutTheFunctionsForJavaIsAReasonNotACrash() throws Exception {
    // Any library of that name that can be loaded and has none of them.
    File other = new File(System.getProperty("dgms.shim.dir"), "libm_shim.so");
    Files.copy(other.toPath(), folder.getRoot().toPath().resolve("libdgms_delegate.so"));
    String output = run(folder.getRoot().getPath(), "available");
    String reason = "the native library `dgms_delegate` must be loadable. Received: ";
    assertTrue(output, output.contains("available: false\nreason: " + reason));
    assertTrue(output, output.contains("nativeKernelSet"));
    assertTrue(output, output.contains("constructor: " + reason));
  }

  @Test
  public void theCheckerOfJniCallsFindsNothing() throws Exception {
    String output = run(System.getProperty("java.library.path"), "many", "150", "-Xcheck:jni");
    assertTrue(output, output.contains("finished: 150 interpreters"));
    assertFalse(output, output.contains("FATAL ERROR in native method"));
    // TFLite itself is warned about; whose call it was stands in the stack trace below a warning.
    for (String warning : output.split("WARNING")) {
      String stack = warning.replaceAll("(?m)^(?!\\s+at ).*$", "").trim();
      String top = stack.isEmpty() ? "" : stack.split("\n")[0];
      assertFalse(warning, top.contains("org.dgms."));
    }
  }

  @Test
  public void logsOnlyWhenItShallAndNeverTheProfile() throws Exception {
    String path = System.getProperty("java.library.path");
    String logged = run(path, "log", "true");
    assertTrue(logged, logged.contains("dgms: claimed "));
    assertFalse("counters() gives it", logged.contains("dgms: profile"));
    String silent = run(path, "log", "false");
    assertTrue(silent, silent.contains("claim: claimed "));
    assertFalse(silent, silent.contains("dgms: "));
  }

  /** Runs {@link DelegateProgram} and returns all it prints; arguments with a dash are options of the JVM. */
  private String run(String libraryPath, String... arguments) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(Arrays.asList(
        new File(System.getProperty("java.home"), "bin/java").getPath(), "-cp", classPath(),
        "-Djava.library.path=" + libraryPath,
        "-Ddgms.shim.dir=" + System.getProperty("dgms.shim.dir"),
        "-Ddgms.models.dir=" + System.getProperty("dgms.models.dir")));
    List<String> programArguments = new ArrayList<>();
    for (String argument : arguments) {
      (argument.startsWith("-") ? command : programArguments).add(argument);
    }
    command.add(DelegateProgram.class.getName());
    command.addAll(programArguments);
    File output = folder.newFile();
    Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output).start();
    boolean ended = process.waitFor(5, TimeUnit.MINUTES);
    if (!ended) {
      process.destroyForcibly();
    }
    String text = new String(Files.readAllBytes(output.toPath()), StandardCharsets.UTF_8);
    assertTrue("it must end by itself:\n" + text, ended);
    assertEquals(text, 0, process.exitValue());
    return text;
  }

  private static String classPath() {
    // Surefire may start its JVM with a single jar that names the others.
    return System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
  }
}
