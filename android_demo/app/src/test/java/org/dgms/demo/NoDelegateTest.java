package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeNotNull;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** The screens in a JVM of their own whose library path has everything but the delegate. */
public final class NoDelegateTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  @Test
  public void screens() throws Exception {
    assumeNotNull(
        "the Android runtime runs on a desktop only through the shims",
        System.getProperty("dgms.shim.dir"));
    List<String> command =
        new ArrayList<String>(
            Arrays.asList(
                new File(System.getProperty("java.home"), "bin/java").getPath(),
                "-cp",
                System.getProperty(
                    "surefire.test.class.path", System.getProperty("java.class.path")),
                "--add-opens=java.base/java.io=ALL-UNNAMED",
                "-Djava.library.path=" + librariesWithoutDelegate()));
    for (String key : System.getProperties().stringPropertyNames()) {
      if (key.startsWith("dgms.") || key.startsWith("robolectric.")) {
        command.add("-D" + key + "=" + System.getProperty(key));
      }
    }
    command.add("org.junit.runner.JUnitCore");
    command.add(NoDelegateScreens.class.getName());
    File log = folder.newFile();
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log).start();
    try {
      assertTrue("still running", process.waitFor(300, TimeUnit.SECONDS));
    } finally {
      process.destroyForcibly();
    }
    String output = new String(Files.readAllBytes(log.toPath()), StandardCharsets.UTF_8);
    assertEquals(output, 0, process.exitValue());
    assertTrue(output, output.contains("OK (1 test)"));
  }

  private String librariesWithoutDelegate() throws Exception {
    for (String name : new String[] {"libdgms_bench.so", "libtensorflowlite_jni.so"}) {
      for (String entry : System.getProperty("java.library.path").split(":")) {
        File library = new File(entry, name).getCanonicalFile();
        if (library.isFile()) {
          Files.createSymbolicLink(new File(folder.getRoot(), name).toPath(), library.toPath());
          break;
        }
      }
      assertTrue(name, new File(folder.getRoot(), name).isFile());
    }
    return folder.getRoot().getPath();
  }
}
