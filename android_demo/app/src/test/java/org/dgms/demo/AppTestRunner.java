package org.dgms.demo;

import org.junit.runners.model.FrameworkMethod;
import org.junit.runners.model.InitializationError;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.internal.bytecode.InstrumentationConfiguration;

/**
 * Robolectric with the real runtime underneath. A native library belongs to the class loader that
 * loaded it first, so the classes with native methods stay outside of Robolectric's own class
 * loader, where every test of this JVM shares them.
 */
public final class AppTestRunner extends RobolectricTestRunner {
  /** Made by JUnit. */
  public AppTestRunner(Class<?> testClass) throws InitializationError {
    super(testClass);
  }

  @Override
  protected InstrumentationConfiguration createClassLoaderConfig(FrameworkMethod method) {
    return new InstrumentationConfiguration.Builder(super.createClassLoaderConfig(method))
        .doNotAcquirePackage("org.tensorflow.")
        .doNotAcquirePackage("org.dgms.tflite.")
        .doNotAcquirePackage("org.dgms.demo.bench.")
        .doNotAcquirePackage("org.dgms.host.")
        .build();
  }
}
