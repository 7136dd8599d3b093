// The entry point of every C++ test program.
// Both: the precompiled headers hold the part of doctest.h in which the one would imply the other.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
